"""Times authpi-idp on the rows that it has, and writes what it answers.

    bench.py FOLDER answers   writes FOLDER/answers.json, for TestPythonAgrees
    bench.py FOLDER time      prints {row: {wall, cpu}} in ns, as JSON
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from authpi_idp import IdpClientSync

SIZES = (1, 10, 100, 1000)
MINIMUM = 0.2  # seconds that each row is timed for


def org_id(i: int) -> str:
    return f"org_01hq3x7k9m{i:010d}"


def identity(agent) -> dict:
    return {
        "sub": agent.id,
        "email": agent.email,
        "email_verified": agent.email_verified,
        "organizations": [o.model_dump() for o in agent.organizations],
    }


def timed(work) -> dict[str, float]:
    work()
    calls = 1
    while True:
        started, used = time.perf_counter(), time.process_time()
        for _ in range(calls):
            work()
        took = time.perf_counter() - started
        if took >= MINIMUM:
            used = time.process_time() - used
            return {"wall": took / calls * 1e9, "cpu": used / calls * 1e9}
        calls = max(calls * 2, int(calls * MINIMUM / max(took, 1e-9)))


def main(folder: Path, mode: str) -> None:
    client = IdpClientSync(
        issuer_url="https://idp.authpi.com/i_1", client_id="c_bench", redirect_uri="https://app.example/callback"
    )
    stored = {n: (folder / f"stored-{n}.json").read_text() for n in SIZES}
    access = {n: client.create_agent(json.loads((folder / f"access-{n}.json").read_text())) for n in SIZES}

    def login():
        return client.create_authorization_url(["openid", "email", "profile"])

    def agent(text: str):
        return client.create_agent(json.loads(text))

    if mode == "answers":
        answers = {
            "identities": {str(n): identity(agent(stored[n])) for n in SIZES},
            "access": {str(n): access[n].has_access_in(org_id(n - 1), "write", "projects") for n in SIZES},
            "login": login().url,
        }
        (folder / "answers.json").write_text(json.dumps(answers))
        return
    rows = {"AuthorizationURL": timed(login)}
    for n in SIZES:
        rows[f"Stored/orgs={n}"] = timed(lambda n=n: agent(stored[n]))
        rows[f"Access/orgs={n}"] = timed(lambda n=n: access[n].has_access_in(org_id(n - 1), "write", "projects"))
    versions = {name: version(name) for name in ("authpi-idp", "pydantic", "httpx")}
    versions["python"] = sys.version.split()[0]
    print(json.dumps({"rows": rows, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
