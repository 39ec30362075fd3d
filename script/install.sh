#!/usr/bin/env bash
# Sets taper up on Linux or macOS: finds uv (or installs it), makes .venv, installs taper with what
# its examples and tests need, and says what to do next.
#
#     bash script/install.sh              # into .venv beside this repository's README
#     bash script/install.sh notebook     # with Jupyter as well; any extras of pyproject.toml
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras="test"
for extra in "$@"; do
    extras="$extras,$extra"
done

find_uv() {
    local place
    for place in uv "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do
        if command -v "$place" >/dev/null 2>&1; then
            command -v "$place"
            return
        fi
    done
    return 1
}

if ! uv=$(find_uv); then
    echo "uv is not installed; installing it for this user."
    if command -v curl >/dev/null 2>&1 && curl -LsSf https://astral.sh/uv/install.sh | sh; then
        :
    elif command -v wget >/dev/null 2>&1 && wget -qO- https://astral.sh/uv/install.sh | sh; then
        :
    else
        echo "uv's own installer could not be fetched; trying pip."
        python3 -m pip install --user uv || {
            echo "uv could not be installed. See https://docs.astral.sh/uv/, or use pip as the" \
                "README shows." >&2
            exit 1
        }
        PATH="$(python3 -m site --user-base)/bin:$PATH"
    fi
    uv=$(find_uv) || {
        echo "uv was installed, but is not where it was expected; open a new terminal and run" \
            "this script again." >&2
        exit 1
    }
fi
echo "Using $("$uv" --version)"

if [ ! -x .venv/bin/python ]; then
    "$uv" venv --python ">=3.11" .venv
fi
"$uv" pip install --python .venv/bin/python -e ".[$extras]"

cat <<'NEXT'

taper is installed. Next:

    source .venv/bin/activate
    taper run examples/digits.py      # train a small network on handwritten digits
    taper info                        # what this installation is made of
    pytest -n 2                       # the tests
NEXT
