#!/bin/sh
# The main job from end to end: prose -> facts -> recommendation -> starter project -> fit report.
set -eu
root=$(pwd)
export PATH="$root/.venv/bin:$PATH"
folder=$(mktemp -d)
cp benchmarks/scenario.txt "$folder"
cd "$folder"
say() { printf '\n$ %s\n\n' "$*"; }

say cat scenario.txt
cat scenario.txt
say advisor explain scenario.txt
advisor explain scenario.txt
say advisor new workshop-arm --from scenario.txt
advisor new workshop-arm --from scenario.txt
say advisor fit workshop-arm
advisor fit workshop-arm || [ $? -eq 1 ]
printf '\nThe starter project is yours to look at: %s\n' "$folder/workshop-arm"
