import asyncio
import sys

import aiohttp

url = sys.argv[1]


async def body():
    for _ in range(100):
        yield bytes(1000)


async def ask():
    async with aiohttp.ClientSession(trust_env=True, connector=aiohttp.TCPConnector(ssl=False)) as session:
        async with session.get(url + "/hello") as hello, session.post(url + "/count", data=body()) as count:
            async with session.get(url + "/large") as large:
                print(await hello.text(), await count.text(), len(await large.read()))


asyncio.run(asyncio.wait_for(ask(), 60))
