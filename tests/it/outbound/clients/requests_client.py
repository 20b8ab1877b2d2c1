import sys

import requests

url = sys.argv[1]
with requests.Session() as session:
    session.verify = False
    for _ in range(50):
        hello = session.get(url + "/hello", timeout=60).text
    count = session.post(url + "/count", data=(bytes(1000) for _ in range(100)), timeout=60).text
    large = session.get(url + "/large", stream=True, timeout=60)
    print(hello, count, sum(len(part) for part in large.iter_content(65536)))
