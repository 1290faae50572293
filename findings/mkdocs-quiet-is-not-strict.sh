#!/usr/bin/env bash
# `mkdocs build --strict --quiet` succeeds although pages have links that lead nowhere.
#
# Packages: mkdocs 1.6.1
# One would guess: --quiet decides what is printed, and --strict whether warnings fail the build.
# Seen: --strict counts the warnings that --quiet lets through, and it lets none through: the build succeeds.
# Why it matters: A CI job that builds its site with both, so that it says nothing but what is wrong, says
# nothing at all, however many links of the site are broken.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1
cd "$work"
mkdir docs
echo "site_name: example" >mkdocs.yml
echo "[a page](nowhere.md)" >docs/index.md

exit_code() { venv/bin/mkdocs build "$@" >/dev/null 2>&1 && echo 0 || echo "$?"; }
strict=$(exit_code --strict)
quiet=$(exit_code --strict --quiet)
echo "exit code of --strict: $strict, of --strict --quiet: $quiet"
[ "$strict $quiet" = "1 0" ]
