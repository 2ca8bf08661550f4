#!/usr/bin/env bash
# The project's own test command: everything that must be green before a change is.
# cargo-deny is looked for; in CI (CI=true) it must be there, elsewhere its absence is said.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --check
step cargo clippy --all-targets --all-features --locked -- -D warnings
step cargo test --all-features --locked
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --all-features --locked
if command -v cargo-deny >/dev/null; then
  step cargo deny --config .deny.toml check bans licenses sources
elif [ "${CI:-}" = true ]; then
  echo "cargo-deny is missing: cargo install cargo-deny --locked" >&2
  exit 1
else
  echo "SKIPPED: cargo deny (cargo install cargo-deny --locked)"
fi
printf '\nall green\n'
