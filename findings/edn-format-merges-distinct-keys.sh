#!/usr/bin/env bash
# edn-format 0.8.0: keys and elements that are distinct in EDN become one where Python calls them equal, without an error.
#
# EDN says that integers and floating point numbers are never equal, and true and the character \a are of types of their own. The library makes
# a dict or a frozenset of what it reads: of {1 :a, 1.0 :b, true :c} only one entry is left, of #{1 1.0 true} one element, of {"a" 1, \a 2} one
# entry. Expected by a good engineer: all entries, or an error. Seen on 2026-11-29, CPython 3.11, Linux.
#
# Where it touches simtx: histories of Jepsen in EDN. Keys and values there are members of vectors, which keep all; only maps and sets lose some, and
# simtx reads from these the fields of operations, whose names are keywords.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q edn-format==0.8.0
cat > "$folder/try.py" <<'PY'
import edn_format

for text in ("{1 :a, 1.0 :b, true :c}", "#{1 1.0 true}", '{"a" 1, \\a 2}', "[1 1.0 true]"):
    print(text, len(edn_format.loads(text)))
PY
"$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
{1 :a, 1.0 :b, true :c} 1
#{1 1.0 true} 1
{"a" 1, \a 2} 1
[1 1.0 true] 3
SEEN
echo "as stated"
