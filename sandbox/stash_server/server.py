"""The server's HTTP side: GraphQL, logging in, the bytes of a picture."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from aiohttp import hdrs, web
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    validate,
)

from sandbox.stash_server import media
from sandbox.stash_server.database import RefusedError
from sandbox.stash_server.resolvers import Context, schema
from sandbox.stash_server.sessions import COOKIE

_log = logging.getLogger(__name__)
_LARGEST_REQUEST = 64 * 2**20
_JSON, _GRAPHQL = "application/json", "application/graphql-response+json"
_NO_PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
_OPEN_PATHS = ("/login", "/healthz")
Hook = Callable[["Exchange"], None]


@dataclass(frozen=True)
class Exchange:
    """One GraphQL request that was valid.

    ``fields``: its top-level fields, one for each alias, in order.
    """

    number: int
    kind: str
    operation: str
    fields: tuple[str, ...]
    variables: Mapping[str, Any]

    @property
    def changes(self) -> int:
        """The number of items that it is to change: those that it names together, or one for each
        field.
        """
        if self.kind != "mutation":
            return 0
        named = self.variables.get("ids") or (self.variables.get("input") or {}).get("ids") or ()
        return max(len(named), len(self.fields))


class RequestLog:
    """Requests to the server so far, and two hooks to act at a given moment.

    ``streamed``: the part that each request for a scene's file wanted, as the header has it.
    ``on_request`` is called before a valid request is executed, ``on_reply`` after that and before
    the reply leaves. Hooks run on a thread of their own while the request waits: they may use the
    library, stop jobs, set faults.
    """

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.streamed: list[str] = []
        self.on_request: Hook | None = None
        self.on_reply: Hook | None = None

    @property
    def operations(self) -> list[str]:
        """The names of the operations, in the order they came; "" for one without a name."""
        return [exchange.operation for exchange in self.exchanges]

    @property
    def mutations(self) -> Counter[str]:
        """The number of calls of each mutation, every alias counted."""
        return Counter(
            name
            for exchange in self.exchanges
            if exchange.kind == "mutation"
            for name in exchange.fields
        )

    @property
    def writes(self) -> int:
        """The number of requests for a change, however many aliases each had."""
        return sum(exchange.kind == "mutation" for exchange in self.exchanges)

    def clear(self) -> None:
        """Forget the requests so far."""
        self.exchanges.clear()
        self.streamed.clear()


class InvalidRequestError(Exception):
    """The request is not one that can be executed. ``faults``: as they stand in the reply."""

    def __init__(self, faults: list[Mapping[str, Any]], *, readable: bool = True) -> None:
        super().__init__(faults)
        self.faults = faults
        self.readable = readable


class StashServer:
    """Answers HTTP requests out of a ``Context``; ``application()`` is what aiohttp runs."""

    def __init__(self, context: Context, log: RequestLog) -> None:
        self._context = context
        self._log = log
        self._schema = schema(context.version)

    def application(self) -> web.Application:
        """Return the routes, behind the door."""
        application = web.Application(middlewares=[self._door], client_max_size=_LARGEST_REQUEST)
        application.router.add_post("/graphql", self._graphql)
        application.router.add_post("/login", self._login)
        application.router.add_get("/image/{id}/image", self._image)
        application.router.add_get("/image/{id}/thumbnail", self._thumbnail)
        application.router.add_get("/scene/{id}/stream", self._stream, allow_head=False)
        application.router.add_get("/healthz", _healthz)
        return application

    @web.middleware
    async def _door(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let in whom it may, and hands out a fresh cookie for a good one."""
        if request.path in _OPEN_PATHS:
            return await handler(request)
        api_key = request.headers.get("ApiKey") or request.query.get("apikey", "")
        visitor = self._context.sessions.visitor(
            api_key, first_cookie(request.headers.get(hdrs.COOKIE, ""))
        )
        if not visitor.allowed:
            return _shut(request, wrong_key=bool(api_key))
        response = await handler(request)
        if visitor.fresh_cookie is not None:
            self._set_cookie(response, visitor.fresh_cookie)
        return response

    def _set_cookie(self, response: web.StreamResponse, value: str) -> None:
        response.set_cookie(
            COOKIE, value, path="/", max_age=int(self._context.sessions.idle_s), samesite="Lax"
        )

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        cookie = self._context.sessions.log_in(str(form.get("username")), str(form.get("password")))
        if cookie is None:
            return web.Response(status=401, text="Username or password is invalid\n")
        response = web.Response()
        self._set_cookie(response, cookie)
        return response

    async def _image(self, request: web.Request) -> web.Response:
        """Return the picture itself, also out of a zip file."""
        sql = (
            "SELECT f.* FROM files f JOIN images_files l ON file_id = f.id WHERE image_id = ? "
            "ORDER BY l.rowid"
        )
        file = self._context.database.row(sql, request.match_info["id"])
        if file is None:
            raise web.HTTPNotFound(text="Not Found\n")
        source, entry = Path(file["source"]), None
        if file["zip_file_id"] is not None:
            outer = self._context.database.values(
                "SELECT path FROM files WHERE id = ?", file["zip_file_id"]
            )[0]
            entry = file["path"].removeprefix(f"{outer}/")
        try:
            return web.Response(body=await asyncio.to_thread(media.picture_bytes, source, entry))
        except (OSError, KeyError, BadZipFile) as error:
            return web.Response(status=500, text=f"{error}\n")

    async def _thumbnail(self, request: web.Request) -> web.Response:
        """Return the thumbnail that was made before, else one made now; of what cannot be shown the
        file itself, or a drawing.
        """
        made = self._context.database.row(
            "SELECT content FROM thumbnails WHERE image_id = ?", request.match_info["id"]
        )
        if made is not None:
            return web.Response(body=made["content"], content_type="image/jpeg")
        served = await self._image(request)
        if served.status != 200 or not isinstance(served.body, bytes):
            return web.Response(body=_NO_PICTURE, content_type="image/svg+xml")
        thumbnail = await asyncio.to_thread(media.thumbnail, served.body)
        return (
            served if thumbnail is None else web.Response(body=thumbnail, content_type="image/jpeg")
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Return a scene's first file as it is, whole or in parts."""
        sql = (
            "SELECT f.* FROM files f JOIN scenes_files l ON file_id = f.id WHERE scene_id = ? "
            "ORDER BY l.rowid"
        )
        file = self._context.database.row(sql, request.match_info["id"])
        self._log.streamed.append(request.headers.get(hdrs.RANGE, ""))
        if file is None:
            raise web.HTTPNotFound(text="404 page not found\n")
        return web.FileResponse(file["source"], headers={hdrs.CONTENT_DISPOSITION: "inline"})

    async def _graphql(self, request: web.Request) -> web.Response:
        wanted = _JSON if _JSON in request.headers.get(hdrs.ACCEPT, "") else _GRAPHQL
        faults = self._context.faults
        await asyncio.sleep(faults.delay_s)
        if faults.take_failure():
            return web.Response(status=500, text="internal server error\n")
        try:
            result = await self._execute(request)
        except InvalidRequestError as error:
            body: dict[str, Any] = {"errors": error.faults, "data": None}
            status = 422 if error.readable and wanted == _JSON else 400
            return _reply(body, wanted, status)
        return _reply(_body(result), wanted)

    async def _execute(self, request: web.Request) -> ExecutionResult:
        query, variables, name = _parameters(await request.text())
        document = _read(query, self._context.version)
        operation = get_operation_ast(document, name)
        if operation is None:
            raise InvalidRequestError([_fault(f"operation {name or ''} not found")])
        exchange = _exchange(len(self._log.exchanges) + 1, operation, document, variables)
        self._log.exchanges.append(exchange)
        await self._call(self._log.on_request, exchange)
        context = replace(
            self._context,
            base_url=f"{request.scheme}://{request.host}",
            is_gone=lambda: request.transport is None or request.transport.is_closing(),
        )
        outcome = execute(
            self._schema,
            document,
            context_value=context,
            variable_values=variables,
            operation_name=name,
        )
        result = outcome if isinstance(outcome, ExecutionResult) else await outcome
        if result.data is None and any(error.path is None for error in result.errors or ()):
            raise InvalidRequestError(
                [_fault(error.message, error) for error in result.errors or ()]
            )
        await asyncio.sleep(self._context.faults.hook_s * exchange.changes)
        await self._call(self._log.on_reply, exchange)
        return result

    async def _call(self, hook: Hook | None, exchange: Exchange) -> None:
        if hook is not None:
            await asyncio.to_thread(hook, exchange)


def _shut(request: web.Request, *, wrong_key: bool) -> web.Response:
    """Return the answer for a visitor without access: a request for a page is sent to log in."""
    if wrong_key or request.path == "/graphql" or Path(request.path).suffix not in ("", ".html"):
        return web.Response(status=401, headers={"WWW-Authenticate": "FormBased"})
    return web.Response(status=302, headers={"Location": f"/login?returnURL={request.path}"})


def _reply(body: Mapping[str, Any], content_type: str, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, content_type=content_type)


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text=".")


def first_cookie(header: str) -> str | None:
    """Return the value of the first session cookie in a Cookie header: where two are sent, the
    server takes the first.
    """
    for part in header.split(";"):
        try:
            morsel = SimpleCookie(part.strip()).get(COOKIE)
        except CookieError:
            continue
        if morsel is not None:
            return morsel.value
    return None


@lru_cache(maxsize=256)
def _read(query: str, version: str) -> DocumentNode:
    """Return the document, if it is one and the schema knows all of it.

    Clients send the same few again and again.
    """
    if not query:
        raise InvalidRequestError([_fault("no operation provided")])
    try:
        document = parse(query)
    except GraphQLSyntaxError as error:
        raise InvalidRequestError([_fault(error.message, error, "GRAPHQL_PARSE_FAILED")]) from error
    errors = validate(schema(version), document)
    if errors:
        raise InvalidRequestError([_fault(error.message, error) for error in errors])
    return document


def _parameters(text: str) -> tuple[str, dict[str, Any], str | None]:
    """Return a request's query, variables and operation name."""
    try:
        body = json.loads(text)
    except ValueError as error:
        message = f"json request body could not be decoded: {error} body:{text}"
        raise InvalidRequestError([{"message": message}], readable=False) from error
    if not isinstance(body, dict):
        raise InvalidRequestError(
            [{"message": "json request body could not be decoded"}], readable=False
        )
    return body.get("query") or "", body.get("variables") or {}, body.get("operationName") or None


def _exchange(
    number: int,
    operation: OperationDefinitionNode,
    document: DocumentNode,
    variables: dict[str, Any],
) -> Exchange:
    kind = "mutation" if operation.operation is OperationType.MUTATION else "query"
    fields = tuple(
        node.name.value
        for node in operation.selection_set.selections
        if isinstance(node, FieldNode)
    )
    return Exchange(number, kind, operation.name.value if operation.name else "", fields, variables)


def _fault(
    message: str, error: GraphQLError | None = None, code: str = "GRAPHQL_VALIDATION_FAILED"
) -> dict[str, Any]:
    """Return an error of a request that was not executed."""
    fault: dict[str, Any] = {"message": message, "extensions": {"code": code}}
    if error is not None and error.locations:
        fault["locations"] = [
            {"line": place.line, "column": place.column} for place in error.locations
        ]
    return fault


def _body(result: ExecutionResult) -> dict[str, Any]:
    """Return the reply to a request that was executed; a fault of the sandbox itself is logged as
    well.
    """
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        for error in result.errors:
            cause = error.original_error
            if cause is not None and not isinstance(cause, RefusedError):
                _log.error("The sandbox failed at %s", error.path, exc_info=cause)
        body["errors"] = [{"message": error.message, "path": error.path} for error in result.errors]
    return body
