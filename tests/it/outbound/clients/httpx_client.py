import sys

import httpx

url = sys.argv[1]
with httpx.Client(verify=False, timeout=60) as client:
    hello = client.get(url + "/hello").text
    count = client.post(url + "/count", content=(bytes(1000) for _ in range(100))).text
    with client.stream("GET", url + "/large") as large:
        print(hello, count, sum(len(part) for part in large.iter_bytes()))
