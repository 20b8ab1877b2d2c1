"""Runs a script of tlsfuzzer with our suites in the place of those with CBC.

Many scripts know no other suite than ECDHE with AES-CBC, which we do not have, though what they try has nothing to do with it.
Here the names of those mean suites with AES-GCM.

    aead.py SCRIPT ARGUMENT...
"""

import os
import runpy
import sys

from tlslite.constants import CipherSuite

IN_PLACE_OF = {
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
}

for name, ours in IN_PLACE_OF.items():
    setattr(CipherSuite, name, getattr(CipherSuite, ours))
del sys.argv[0]
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0]))))
runpy.run_path(sys.argv[0], run_name="__main__")
