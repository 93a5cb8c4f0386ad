#!/usr/bin/env bash
# Measures authpi and its peers in rounds, prints the goals with what was measured,
# and writes the tables and charts of docs/review/performance.md.
#
#   ROUNDS=5 BENCHTIME=300ms internal/bench/run.sh
#
# OUT keeps the raw figures (internal/bench/out by default). Without python3 the rows of the
# Python package are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export GOWORK=off # the versions in internal/bench/go.mod, whatever else is in the workspace

rounds=${ROUNDS:-5}
time=${BENCHTIME:-300ms}
out=$(mkdir -p "${OUT:-out}" && cd "${OUT:-out}" && pwd)
rm -f "$out"/round-*.txt "$out"/python-*.json "$out"/size.json "$out"/load.txt

python=
if command -v python3 >/dev/null; then
	[[ -x .venv/bin/python ]] || python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check authpi-idp==1.1.2 httpx==0.28.1 pydantic==2.14.3
	python=.venv/bin/python
fi

echo "== the contenders agree"
go run ./cmd/fixtures "$out"
if [[ $python ]]; then
	$python python/bench.py "$out" answers
	export BENCH_PYTHON=$out
fi
go test -count=1 ./...
go test -c -o "$out/bench.test" .

# Each row has a process of its own, so that none inherits another's heap. Within a
# row the contenders come in an order that moves on with each round.
rows=(AuthorizationURL Stored GuardedPage GuardedAPI Verify SeenAgain Access Forged Exchange Burst)
load() { cut -d' ' -f1 /proc/loadavg >>"$out/load.txt" 2>/dev/null || true; }
for ((round = 1; round <= rounds; round++)); do
	echo "== round $round of $rounds, load $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || echo unknown)"
	load
	file=$(printf '%s/round-%02d.txt' "$out" "$round")
	for row in "${rows[@]}"; do
		ROUND=$round "$out/bench.test" -test.run '^$' -test.bench "^Benchmark($row)\$" -test.benchtime "$time" >>"$file"
	done
	# The first wave differs from the later ones, and goroutines that wait for each
	# other end a short measurement too early: their numbers are given.
	ROUND=$round "$out/bench.test" -test.run '^$' -test.bench '^BenchmarkSockets$' -test.benchtime 5x >>"$file"
	ROUND=$round "$out/bench.test" -test.run '^$' -test.bench '^BenchmarkTokenSource$' -test.benchtime 3000000x >>"$file"
	if [[ $python ]]; then
		$python python/bench.py "$out" time >"$(printf '%s/python-%02d.json' "$out" "$round")"
	fi
done
load

go run ./cmd/size >"$out/size.json"
mkdir -p ../../docs/img
go run ./cmd/report "$out" ../../docs
