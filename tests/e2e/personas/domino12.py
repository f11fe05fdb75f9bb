"""Domino 12: TLS 1.2; 1.0 is off (madicon.de/notes-ini-parameters, SSL_DISABLE_TLS_10). Its extensions are those of before."""
import ssl

from .domino import Domino


class Domino12(Domino):
    name = "Domino 12"
    tls_versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    mechanisms, mechanisms_tls = (), ("LOGIN",)
    GREETING = b"220 domino.example.com ESMTP Service (HCL Domino Release 12.0.2) ready at Sun, 22 Nov 2026 10:00:00 +0100\r\n"     # openvas: banners
