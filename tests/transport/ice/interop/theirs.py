"""An agent of aioice as a program that talks like ours.py.  Data is answered with `echo `."""

import asyncio
import sys

import aioice
import msgspec

from tests.transport.ice.interop.words import Greeting, Order, Told


def say(message: Greeting | Told) -> None:
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


async def hear() -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)


async def main(controlling: bool) -> None:
    connection = aioice.Connection(ice_controlling=controlling)
    await connection.gather_candidates()
    texts = [candidate.to_sdp() for candidate in connection.local_candidates]
    say(Greeting(ufrag=connection.local_username, pwd=connection.local_password, candidates=texts))
    remote = msgspec.json.decode(await hear(), type=Greeting)
    connection.remote_username, connection.remote_password = remote.ufrag, remote.pwd
    for text in remote.candidates:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(text))
    await connection.add_remote_candidate(None)
    try:
        await connection.connect()
    except ConnectionError as error:
        say(Told(kind="failed", text=str(error)))
        return
    say(Told(kind="connected"))
    echo = asyncio.create_task(answer(connection))
    while line := await hear():
        order = msgspec.json.decode(line, type=Order)
        if order.send is not None:
            await connection.send(order.send.encode())
    echo.cancel()
    await connection.close()


async def answer(connection: aioice.Connection) -> None:
    while True:
        data = (await connection.recv()).decode()
        say(Told(kind="data", text=data))
        await connection.send(f"echo {data}".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] == "controlling"))
