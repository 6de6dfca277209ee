#!/usr/bin/env bash
# A real Spark standalone cluster on loopback: one master, N workers, each a process of its own outside the checkout.
#
#   scripts/local_cluster.sh start [WORKERS=2] [CORES=1] [MEMORY=3g]   prints the master's URL, spark://127.0.0.1:PORT
#   scripts/local_cluster.sh stop
#
# State (pids, logs, work folders) is in $DERMASPARK_CLUSTER, by default a folder of this user's in /tmp.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
state=${DERMASPARK_CLUSTER:-${TMPDIR:-/tmp}/dermaspark-cluster-$(id -u)}
export PATH="$root/.venv/bin:$PATH" SPARK_LOCAL_IP=127.0.0.1
SPARK_HOME=$(python -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')
export SPARK_HOME

launch() { # name, class, arguments: a JVM in a folder of its own, its pid kept
  local name=$1 class=$2
  shift 2
  mkdir -p "$state/$name"
  (cd "$state/$name" && exec "$SPARK_HOME/bin/spark-class" "$class" "$@") >"$state/$name.log" 2>&1 &
  echo $! >"$state/$name.pid"
}

wait_for() { # file, pattern: the first match in a log, or the log and failure after 60 s
  for _ in $(seq 300); do
    grep -om1 "$2" "$1" 2>/dev/null && return
    sleep 0.2
  done
  cat "$1" >&2
  return 1
}

start() {
  if [ -e "$state/master.pid" ]; then
    echo "a cluster runs already (in $state): stop it first" >&2
    exit 1
  fi
  if [ -n "$(ls -A "$state" 2>/dev/null)" ]; then
    echo "$state: holds something else than a cluster's state; name another folder in DERMASPARK_CLUSTER" >&2
    exit 1
  fi
  mkdir -p "$state"
  launch master org.apache.spark.deploy.master.Master --host 127.0.0.1 --port 0 --webui-port 0
  local url
  url=$(wait_for "$state/master.log" 'spark://127.0.0.1:[0-9]*') || { stop; exit 1; }
  for i in $(seq "$1"); do
    launch "worker-$i" org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --port 0 --webui-port 0 \
      --cores "$2" --memory "$3" --work-dir "$state/worker-$i/work" "$url"
  done
  for i in $(seq "$1"); do
    wait_for "$state/worker-$i.log" 'Successfully registered with master' >/dev/null || { stop; exit 1; }
  done
  echo "$url"
}

is_ours() { # pid: whether it still is a master or worker; the id of a dead one may be another process's by now
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q 'org\.apache\.spark\.'
}

stop() { # only the processes whose ids were kept; workers end their executors themselves
  local file
  [ -e "$state" ] || return 0
  if [ ! -e "$state/master.pid" ]; then
    echo "$state: holds something else than a cluster's state, and is left alone" >&2
    exit 1
  fi
  for file in "$state"/*.pid; do
    [ -e "$file" ] || continue
    if is_ours "$(cat "$file")"; then kill "$(cat "$file")" 2>/dev/null || true; fi
  done
  for file in "$state"/*.pid; do
    [ -e "$file" ] || continue
    for _ in $(seq 100); do is_ours "$(cat "$file")" && sleep 0.1 || break; done
  done
  rm -rf "$state"
}

case ${1:-} in
  start) start "${2:-2}" "${3:-1}" "${4:-3g}" ;;
  stop) stop ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
