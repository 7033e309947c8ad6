"""The web server of the page: a few fixed files, and one WebSocket for each tab.

Only pages of this server may connect: the Host must be one of its own names, which stops names that are bound to the
loopback address from outside, and the Origin of a WebSocket must be the page's own. Files are read once at the start,
so that no path of a request reaches the disk.
"""

import json
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marl_engine.errors import Refused, describe
from marl_engine.play.messages import LARGEST_MESSAGE, parse_message
from marl_engine.play.room import Room, Session

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html"),
    "/play.css": ("play.css", "text/css"),
    "/play.js": ("play.js", "text/javascript"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_REFUSALS = 50  # messages of a connection before it is closed
TOO_BIG, POLICY, OTHER_TAB, FULL = 1009, 1008, 4001, 1013  # codes of closed connections
INSTALL = "marl-play needs a web server: pip install 'marl_engine[play]'"


def make_app(room: Room, hosts: Collection[str] = LOOPBACK) -> Any:
    """Returns the ASGI application of a room, for requests to some host names; none: to any. Raises Refused."""
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route, WebSocketRoute
        from starlette.websockets import WebSocket
    except ImportError as error:
        raise Refused(INSTALL) from error
    files = {path: (PAGE.joinpath(name).read_bytes(), kind) for path, (name, kind) in FILES.items()}

    async def show_file(request: Request) -> Response:
        if not is_own_host(request.headers.get("host", ""), hosts):
            return PlainTextResponse("this page has another address", 403, HEADERS)
        content, kind = files[request.url.path]
        return Response(content, media_type=kind, headers=HEADERS)

    async def connect(web: WebSocket) -> None:
        host = web.headers.get("host", "")
        if not is_own_host(host, hosts) or web.headers.get("origin") != f"http://{host}":
            await web.close(POLICY)
        else:
            await serve_tab(room, web)

    routes = [Route(path, show_file) for path in files]
    return Starlette(routes=[*routes, WebSocketRoute("/socket", connect)])


def is_own_host(header: str, hosts: Collection[str]) -> bool:
    """Whether a Host header names one of some hosts; with none, any is right."""
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:
        return False
    return name is not None and (not hosts or name in hosts)


class SocketPage:
    """A page that is connected by a WebSocket; see `room.Page`. What is sent after the connection has ended is lost."""

    def __init__(self, web: Any):
        self.web, self.open = web, True

    async def send(self, message: dict[str, Any]) -> None:
        if self.open:
            try:
                await self.web.send_text(json.dumps(message))
            except Exception:  # what a server raises when the other side is gone differs between servers
                self.open = False

    async def close(self, code: int) -> None:
        """Ends the connection."""
        if self.open:
            self.open = False
            await self.web.close(code)

    async def replace(self) -> None:
        await self.close(OTHER_TAB)


async def serve_tab(room: Room, web: Any) -> None:
    """Serves a WebSocket until it is closed."""
    await web.accept()
    page = SocketPage(web)
    try:
        session = room.session(web.query_params.get("session"))
    except Refused:
        await page.close(FULL)
        return
    try:
        await session.attach(page)
        await take_messages(session, page)
    finally:
        page.open = False
        session.detach(page)


async def take_messages(session: Session, page: SocketPage) -> None:
    """Passes messages to a session until the page is gone. Refuses invalid ones; closes after too many of them."""
    refusals = 0
    while (event := await page.web.receive())["type"] == "websocket.receive" and page.open:
        text = event.get("text")
        if text is not None and len(text) > LARGEST_MESSAGE:
            await page.close(TOO_BIG)
            return
        try:
            if text is None:
                raise Refused("messages are texts")
            await session.take(parse_message(text))
        except (ValueError, RuntimeError, OSError) as error:
            refusals += 1
            await page.send({"type": "error", "text": describe(error)})
            if refusals > MOST_REFUSALS:
                await page.close(POLICY)
                return


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that listens at an address; port 0: a free one. Raises Refused."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        raise Refused(f"host={host} port={port}: {describe(error)}") from error
    return listener


def own_hosts(host: str) -> tuple[str, ...]:
    """Returns the names by which a server at a host may be addressed; none, for any, if others can reach it."""
    return LOOPBACK if host in LOOPBACK else ()


def make_server(app: Any) -> Any:
    """Returns the web server of an application; `run(sockets=[…])` serves until a signal. Raises Refused."""
    try:
        import uvicorn
        import websockets  # noqa: F401  # which uvicorn takes for WebSockets
    except ImportError as error:
        raise Refused(INSTALL) from error
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            ws="websockets-sansio",
            ws_max_size=4 * LARGEST_MESSAGE,
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
