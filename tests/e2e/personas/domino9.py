"""Domino 9 before 9.0.1 FP3 IF2: TLS 1.0 at the most, with RSA key exchange."""
import ssl

from .domino import Domino


class Domino9(Domino):
    name = "Domino 9"
    # ds-infolib.hcltechsw.com/ldd/dominowiki.nsf/dx/TLS_1.2: TLS 1.2 and DHE came with 9.0.1 FP3 IF2; before, SSLv3 and (from the fixes of late 2014 on)
    # TLS 1.0, with RSA key exchange alone. OpenSSL 3 of Debian has no SSLv3 any more, and TLS 1.0 at security level 0.
    tls_versions = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1)
    tls_ciphers = "kRSA:@SECLEVEL=0"
    mechanisms = mechanisms_tls = ("LOGIN",)
    GREETING = b"220 domino.example.com ESMTP Service (IBM Domino Release 9.0.1) ready at Sun, 22 Nov 2026 10:00:00 +0100\r\n"      # openvas: banners
