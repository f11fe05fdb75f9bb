"""Scripted SMTP servers that behave as Exchange and Domino do: neither can be installed here. Each trait has its source beside it."""
from .domino9 import Domino9
from .domino12 import Domino12
from .exchange2010 import Exchange2010
from .exchange2019 import Exchange2019
from .exchange_online import ExchangeOnline
from .exchange_transport import ExchangeTransport

PERSONAS = {p.name: p for p in (Exchange2010, Exchange2019, ExchangeTransport, ExchangeOnline, Domino9, Domino12)}
