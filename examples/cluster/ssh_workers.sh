#!/bin/sh
# A scheduler here and a worker on each host that is named, over ssh:  sh ssh_workers.sh node1 node2
# Then, in another terminal:  netsurgeon compress-many recipes/*.toml --out /shared/results --cluster tcp://THIS-HOST:8786
# Every host has the same environment and sees the same folders under the same paths. Ctrl-C ends all of them.
set -eu
environment="${ENVIRONMENT:-$HOME/netsurgeon}"
here="${HERE:-$(hostname -f)}" # the name of this host that the others know
port="${PORT:-8786}"
trap 'kill 0' EXIT INT TERM
"$environment/bin/python" -m dask scheduler --host "$here" --port "$port" --no-dashboard &
sleep 3
for host in "$@"; do
    ssh -tt "$host" "$environment/bin/python" -m dask worker "tcp://$here:$port" --nthreads 1 --name "$host" &
done
wait
