#!/bin/sh
# Installs this project into the virtual environment $1, as every machine of every kind of cluster has it.
set -eu
venv=$1
project=$(cd "$(dirname "$0")/.." && pwd)
python3 -m venv "$venv"
# Pinned as everywhere: the constraints file is the one the tests ran with.
"$venv/bin/pip" install --quiet --editable "$project" --constraint "$project/constraints.txt"
# Ray installs a script named tune too: ours, which has Ray's commands and our own, is the one that must stay.
grep -q study.cli "$venv/bin/tune" || "$venv/bin/pip" install --force-reinstall --no-deps --editable "$project"
# A PyTorch without CUDA would train on the CPUs of a machine that is there for its GPU.
if command -v nvidia-smi >/dev/null; then
  "$venv/bin/python" -c 'import torch; assert torch.cuda.is_available(), "this PyTorch finds no GPU"'
fi
