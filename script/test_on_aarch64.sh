#!/usr/bin/env bash
# Runs tests as on a 64-bit ARM processor with Linux, on a Debian machine with any other: Debian's
# Python for ARM, PyPI's wheels for ARM, and qemu, which emulates single programs.
#
#     bash script/test_on_aarch64.sh tests/runtime tests/kernels        # any arguments of pytest
#     TAPER_NATIVE= bash script/test_on_aarch64.sh tests/nn             # kernels in the background
#     AARCH64_CPU=max bash script/test_on_aarch64.sh tests/compiler     # a processor that qemu knows
#
# Nothing is installed on the machine: packages are unpacked in AARCH64_HOME (900 MB), once. Threads
# are real, but memory is ordered as this machine orders it, which is stricter than ARM may be.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${AARCH64_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/taper-aarch64}
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mkdir -p "$home"
cd "$home"

unpack_debian_packages() {
    mkdir -p apt/lists/partial apt/cache/archives/partial emulator system
    touch apt/status
    echo "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $suite main" > apt/sources.list
    cat > apt/conf <<EOF
APT::Architecture "arm64"; APT::Architectures { "arm64"; };
APT::Install-Recommends "false"; APT::Sandbox::User "root";
Dir::State::lists "$home/apt/lists"; Dir::State::status "$home/apt/status";
Dir::Cache "$home/apt/cache"; Dir::Etc::sourcelist "$home/apt/sources.list"; Dir::Etc::sourceparts "-";
EOF
    (cd apt && apt-get -q download qemu-user-static)
    dpkg -x apt/qemu-user-static_*.deb emulator
    export APT_CONFIG="$home/apt/conf"
    apt-get -q update
    apt-get -q install --yes --download-only python3 libstdc++6 libgfortran5 zlib1g
    for package in apt/cache/archives/*.deb; do
        dpkg -x "$package" system
    done
    unset APT_CONFIG
    rm -r apt
}

# What LLVM asks for the processor's name and features: a Neoverse N1.
describe_processor() {
    mkdir -p system/proc
    cat > system/proc/cpuinfo <<'EOF'
processor	: 0
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1
EOF
}

install_wheels() {
    local version
    version=$(basename "$(ls system/usr/bin/python3.[0-9]*)")
    python3 -m pip install --quiet --target packages --upgrade --only-binary=:all: \
        --python-version "${version#python}" --implementation cp \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
        numpy ml_dtypes scipy llvmlite pytest hypothesis packaging array-api-compat einops
    # Tests that start Python again start it under the emulator.
    echo "import sys; sys.executable = sys._base_executable = '$home/python'" \
        > packages/sitecustomize.py
    cat > python <<EOF
#!/bin/sh
export QEMU_LD_PREFIX="$home/system" PYTHONHOME="$home/system/usr"
export PYTHONPATH="$home/packages:\$TAPER_ROOT:\$PYTHONPATH"
exec "$home/emulator/usr/bin/qemu-aarch64-static" -cpu "\${AARCH64_CPU:-neoverse-n1}" \\
    "$home/system/usr/bin/$version" "\$@"
EOF
    chmod +x python
}

if [ ! -x python ]; then
    unpack_debian_packages
    describe_processor
    install_wheels
fi
cd "$root"
export TAPER_ROOT=$root TAPER_NATIVE=${TAPER_NATIVE-now}
export TAPER_CACHE_DIR=${TAPER_CACHE_DIR:-$home/kernels}
exec "$home/python" -m pytest -q -p no:cacheprovider "$@"
