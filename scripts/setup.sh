#!/usr/bin/env bash
# Makes .venv: the locked packages, Horovod and petastorm built with their patches, and a check that Horovod works.
# PYTHON=python3.12 chooses the interpreter. Returns at once where the last set-up still holds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME SPARK_CONF_DIR SPARK_HOME PYSPARK_DRIVER_PYTHON PYSPARK_PYTHON

recipe=(requirements-build.lock requirements.lock scripts/setup.sh scripts/build_wheels.py scripts/patches/*)
stamp=.venv/.setup
# The path is in it because a virtualenv does not survive being moved.
fingerprint=$({ pwd; cat "${recipe[@]}"; } | sha256sum)

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

holds() {
  [ "$(cat $stamp 2>/dev/null)" = "$fingerprint" ] || return 1
  [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of .venv/bin/python)" ]
}

missing=()

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    case $(version_of "$candidate") in 3.11 | 3.12 | 3.13) python=$candidate; break ;; esac
  done
  if [ -z "${python:-}" ]; then
    missing+=("Python 3.11, 3.12 or 3.13 (Debian: python3)")
  elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=("venv for $python (Debian: python3-venv)")
  fi
}

find_tools() {
  local java=${JAVA_HOME:+$JAVA_HOME/bin/}java
  [ "$(uname -sm)" = "Linux x86_64" ] || missing+=("Linux on x86-64, which the lock file is for")
  find_python
  case $("$java" -version 2>&1) in *'version "17'[.\"]* | *'version "21'[.\"]*) ;; *)
    missing+=("Java 17 or 21 (Debian: openjdk-17-jre-headless)") ;;
  esac
  command -v g++ >/dev/null || missing+=("g++ (Debian: g++)")
  command -v make >/dev/null || missing+=("make (Debian: make)")
  # What .venv comes to; pip's cache and compiling want some 500 MB more, on whichever disks those are.
  [ -x .venv/bin/python ] || [ "$(df -Pm . | awk 'NR == 2 { print $4 }')" -ge 3000 ] || missing+=("3 GB free on this disk")
  [ ${#missing[@]} = 0 ] && return
  local IFS=';'
  echo "set-up: missing: ${missing[*]}" | sed 's/;/; /g' >&2
  exit 1
}

# stage TEXT COMMAND...: one line with the seconds it took; what the command prints goes to the log.
stage() {
  local text=$1 start=$SECONDS
  shift
  printf '  %-58s' "$text ..."
  if ! "$@" >>"$log" 2>&1 </dev/null; then
    printf 'failed\n'
    tail -n 5 "$log" >&2
    echo "set-up: failed; the whole log is in $log" >&2
    exit 1
  fi
  printf '%4d s\n' $((SECONDS - start))
}

make_venv() {
  rm -f $stamp .venv/jvm-options
  [ "$(version_of .venv/bin/python)" = "$(version_of "$python")" ] || "$python" -m venv --clear .venv
}

install_locked() { python -m pip install --require-hashes --no-build-isolation "${@/#/--requirement=}"; }

check() {
  python -m pip check && python -c 'from petastorm import make_batch_reader' && python scripts/check_allreduce.py
}

# The JVM of a job takes its classes out of an archive (JEP 350) of those that a small job has loaded, and compiles them
# by C1 alone: on two cores a session stands after 8 s instead of 15. Java would keep 48 MB of what C1 alone compiled,
# which a long job fills: then it compiles the same again and again. Where the archive does not fit (another Java, a
# SPARK_CONF_DIR) the JVM reads its jars, and says nothing of it.
archive_classes() {
  local folder archive=$PWD/.venv/spark.jsa compiler='-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m'
  # Chained: set -e does not hold in what a stage runs.
  folder=$(mktemp -d) && rm -f "$archive" &&
    python scripts/sample_photographs.py --train-per-class 4 --test-per-class 1 "$folder/photographs" &&
    SPARK_LOCAL_IP=127.0.0.1 SPARK_SUBMIT_OPTS="'-XX:ArchiveClassesAtExit=$archive' $compiler" \
      spark-submit --master 'local[2]' jobs/preprocess.py --config conf/seed.yaml \
      input.path="$folder/photographs" output.path="$folder/dataset" &&
    rm -r "$folder" &&
    echo "'-XX:SharedArchiveFile=$archive' -Xlog:cds=off -Xlog:cds+dynamic=off $compiler" >.venv/jvm-options
}

if holds; then
  echo "set-up: .venv is up to date"
  exit
fi
find_tools
log=$(mktemp --suffix=.log "${TMPDIR:-/tmp}/dermaspark-setup-XXXXXX")
echo "set-up: .venv with $python ($(version_of "$python")); the first time takes some minutes"
stage "virtualenv" make_venv
export VIRTUAL_ENV=$PWD/.venv PATH=$PWD/.venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
stage "build tools" install_locked requirements-build.lock
stage "packages of requirements.lock" install_locked requirements.lock
stage "petastorm, patched" python scripts/build_wheels.py petastorm
stage "Horovod, patched (minutes where it must be compiled)" python scripts/build_wheels.py horovod
stage "check: two processes allreduce to the right sum" check
stage "an archive of Spark's classes" archive_classes
echo "$fingerprint" >$stamp
rm -f "$log"
