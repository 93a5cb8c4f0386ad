"""Steps of a session by the Python package authpi-idp, for python_test.go.

Every line of standard input is a JSON object; its "do" says what to do, with a
client of its own as in a new request. The answer is a line of JSON on standard
output. An error of the package is an answer too.
"""

import asyncio
import inspect
import json
import sys

import authpi_idp
from authpi_idp import AuthorizationUrl, IdpClient, IdpClientSync, OAuthError, TokenSet


async def settle(value):
    return await value if inspect.isawaitable(value) else value


def described(agent):
    return {
        "id": agent.id,
        "email": agent.email,
        "organizations": [o.model_dump() for o in agent.organizations],
        "may_read": agent.has_access_in("org_1", "read", "projects"),
        "may_write": agent.has_access_in("org_2", "write", "projects"),
        "tokens": agent.tokens.model_dump_json(),
    }


async def step(client, ask):
    if ask["do"] == "authorize":
        auth = client.create_authorization_url(ask["scopes"], resources=ask["resources"])
        return {"auth": auth.model_dump_json()}
    if ask["do"] == "callback":
        auth = AuthorizationUrl.model_validate_json(ask["auth"])
        return described(await settle(client.exchange_callback(ask["callback"], auth)))
    if ask["do"] == "create":
        tokens = TokenSet.model_validate_json(ask["tokens"])
        saved = []
        agent = await settle(client.create_agent(tokens, on_refresh=saved.append))
        return described(agent) | {"saved": [json.dumps(one) for one in saved]}
    if ask["do"] == "echo":
        kind = {"tokens": TokenSet, "auth": AuthorizationUrl}[ask["kind"]]
        return {"json": kind.model_validate_json(ask["json"]).model_dump_json()}
    raise SystemExit("unknown step " + ask["do"])


async def answer(ask):
    kind = IdpClient if ask["async"] else IdpClientSync
    client = kind(**ask["client"])
    try:
        return await step(client, ask)
    except OAuthError as e:
        return {"error": e.error, "class": type(e).__name__}
    finally:
        await settle(client.close())


async def main():
    print(json.dumps({"version": authpi_idp.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(await answer(json.loads(line))), flush=True)


asyncio.run(main())
