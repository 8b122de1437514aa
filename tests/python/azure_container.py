"""Makes a container in an emulator of Azure Blob Storage, with the account and the key that all emulators have.

In: the emulator's address and the container's name; out: on standard output a token (SAS) that reads and lists the container.
"""

import base64
import hashlib
import hmac
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.parse import urlencode

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2023-11-03"

address, container = sys.argv[1:]
now = datetime.now(timezone.utc)


def signed(text):
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


# "Authorize with Shared Key": eleven standard headers, of which none is set here, the ones of Azure, and the resource.
date = format_datetime(now, usegmt=True)
headers = f"x-ms-date:{date}\nx-ms-version:{VERSION}"
text = "PUT\n" + "\n" * 11 + f"{headers}\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
request = urllib.request.Request(f"http://{address}/{ACCOUNT}/{container}?restype=container", method="PUT", headers={
    "x-ms-date": date, "x-ms-version": VERSION, "Content-Length": "0", "Authorization": f"SharedKey {ACCOUNT}:{signed(text)}",
})
urllib.request.urlopen(request).close()

# "Create a service SAS": the fields in their order, those that are not used are empty.
expiry = (now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
fields = ["rl", "", expiry, f"/blob/{ACCOUNT}/{container}", "", "", "", VERSION, "c"] + [""] * 7
print(urlencode({"sp": "rl", "se": expiry, "sv": VERSION, "sr": "c", "sig": signed("\n".join(fields))}))
