import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Before: open database connections. After: close them; the requests under way are done by then.
    yield
    print("FastAPI finishes", flush=True)


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=PlainTextResponse)
async def hello() -> str:
    return f"Hello from FastAPI, process {os.getpid()}\n"


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}
