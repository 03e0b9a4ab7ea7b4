#!/bin/sh
# What a job runs that may run again: `begin.sh NAME CONFIG [KEY=VALUE]…` begins the study NAME, or goes on with it where
# it has begun. The one who had it before is gone, since one job has one study. STUDY_ROOT says where studies are.
name=$1
shift
if study show "$name" >/dev/null 2>&1; then
  exec study resume "$name" --take-over --address auto --plain
fi
exec study run "$@" --address auto --plain
