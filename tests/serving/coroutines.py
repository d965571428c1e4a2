"""The asynchronous part of the site."""

import asyncio
import itertools

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import JsonResponse

from tests.serving import work
from tests.serving.models import Gate, Token


async def events(token, count):
    """As `site.events`."""
    await Token.objects.acreate(text=token)
    for _ in itertools.repeat(None, count) if count else itertools.repeat(None):
        yield f"data: {await Token.objects.aget(text=token)}\n\n"


async def write(request):
    token = request.GET["token"]
    await Token.objects.acreate(text=token)
    return JsonResponse([each.text async for each in Token.objects.filter(text=token)], safe=False)


async def gather(request):
    """Write and read much at once."""
    tokens = [f"{request.GET['token']} {number}" for number in range(5)]
    await asyncio.gather(*(Token.objects.acreate(text=each) for each in tokens))
    found = await asyncio.gather(*(Token.objects.aget(text=each) for each in tokens))
    return JsonResponse([each.text for each in found], safe=False)


async def gather_in_threads(request):
    """The same in many threads, each of which has to close what it used."""

    def write_and_close(token):
        try:
            return work.write(token)["after"][0]
        finally:
            connection.close()

    tokens = [f"{request.GET['token']} {number}" for number in range(8)]
    write_one = sync_to_async(write_and_close, thread_sensitive=False)
    return JsonResponse(await asyncio.gather(*map(write_one, tokens)), safe=False)


async def slow_query(request):
    await Gate.objects.aupdate(id=1)
    return JsonResponse("passed", safe=False)


async def slow_transaction(request):
    answer = await sync_to_async(work.write_at_gate)(request.GET["token"])
    return JsonResponse(answer)


async def half_done(request):
    """Begin a transaction by hand, in it wait for what never comes."""
    await sync_to_async(work.begin_by_hand)(request.GET["token"])
    await asyncio.Event().wait()


async def half_done_by_django(request):
    """The same by Django's means."""
    await sync_to_async(work.leave_transaction)(request.GET["token"])
    await asyncio.Event().wait()


PAGES = (
    *(write, gather, gather_in_threads),
    *(slow_query, slow_transaction, half_done, half_done_by_django),
)
