#!/bin/sh
# The main job from end to end: prose -> facts -> recommendation -> starter project -> fit report.
set -eu
advisor=.venv/bin/advisor
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say() { printf '\n\033[1m$ %s\033[0m\n\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }

say "cat benchmarks/scenario.txt"
cat benchmarks/scenario.txt
say "advisor explain benchmarks/scenario.txt"
$advisor explain benchmarks/scenario.txt
say "advisor new workshop-arm --from benchmarks/scenario.txt"
$advisor new "$folder/workshop-arm" --from benchmarks/scenario.txt
say "advisor fit workshop-arm"
$advisor fit "$folder/workshop-arm" || [ $? -eq 1 ]
