# Sourced by ./dev: makes the Debian packages and the virtual environment `.venv` complete, on demand.
#
#   ensure build   compilers, libraries, oneDNN, what the package and the examples need
#   ensure test    the above, and what checks and tests need (PyTorch where it can be had, cuBLASLt's
#                  header where nvcc is)
#   ensure long    the above, and what the long suite needs (clang's fuzzer, coverage, valgrind)
#
# A stamp in .venv, keyed by a hash of the requirement files, makes the next call return at once.
# As root missing Debian packages are installed; any other user is told the exact command.

setup_dir=$root/tools/setup
venv=$root/.venv
python=$venv/bin/python

requirements() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

# stamp_path LEVEL: where the stamp of LEVEL lies, given the requirement files as they are now.
stamp_path() {
  local files=("$setup_dir/setup.sh" "$setup_dir"/{debian,python}-build.txt)
  [ "$1" = build ] || files+=("$setup_dir"/{debian,python}-test.txt "$setup_dir"/python-{torch,cuda}.txt)
  [ "$1" != long ] || files+=("$setup_dir"/{debian,python}-long.txt)
  echo "$venv/stamps/$1-$( (echo "$root"; cat "${files[@]}") | sha256sum | cut -c1-16)"
}

# is_ready LEVEL: whether LEVEL or one that includes it was made complete.
is_ready() {
  local level
  [ -x "$python" ] || return 1
  for level in "$@"; do [ ! -e "$(stamp_path "$level")" ] || return 0; done
  return 1
}

install_packages() {  # FILE...
  if ! command -v dpkg-query >/dev/null; then
    say "no Debian packages here: the build needs what $setup_dir/debian-build.txt lists"
    return 0
  fi
  local missing=() package
  local installed; installed=$(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii *//p')
  for package in $(requirements "$@"); do
    grep -qxF "$package" <<<"$installed" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    fail "these Debian packages are missing; install them and try again:
  sudo apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  say "installing Debian packages: ${missing[*]}"
  local apt=(timeout 900 apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" update >/dev/null || say "apt-get update failed; trying with the lists that are here"
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$root/build/apt.log" 2>&1 \
    || { tail -20 "$root/build/apt.log" >&2; fail "apt-get could not install: ${missing[*]}"; }
}

# The first Python that is new enough and can make an environment.
find_python() {
  local candidate
  for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c \
        'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return 0
    fi
  done
  fail "no Python >= 3.11 with the venv module was found"
}

pip_install() {
  timeout 1200 "$python" -m pip install --disable-pip-version-check --no-input "$@" >"$root/build/pip.log" 2>&1
}

make_environment() {
  # A copied or moved tree has an environment that points elsewhere.
  if [ -x "$python" ] && [ "$(cat "$venv/made-for" 2>/dev/null)" = "$root" ] && "$python" -c '' 2>/dev/null; then
    return 0
  fi
  say "making the virtual environment .venv"
  rm -rf "$venv"
  "$(find_python)" -m venv "$venv"
  echo "$root" >"$venv/made-for"
  # The package is imported from the source tree; the release build puts its extension beside it.
  "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    | { read -r site; echo "$root/python" >"$site/oneflow-source-tree.pth"; }
}

install_torch() {
  local have
  have=$("$python" -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || true)
  [ "torch==$have" != "$(requirements "$setup_dir/python-torch.txt")" ] || return 0
  say "installing PyTorch's CPU build (a judge for tests)"
  if ! pip_install --retries 1 --timeout 30 --extra-index-url https://download.pytorch.org/whl/cpu \
      -r "$setup_dir/python-torch.txt"; then
    say "PyTorch's CPU build cannot be had here: comparisons that need it are skipped"
  fi
}

# cuBLASLt's header, without which nvcc, where it is at hand, cannot compile all of liboneflow_cuda.so.
install_cublas() {
  find_nvcc >/dev/null || { say "no nvcc of CUDA 13 here: the CUDA kernels are compiled for the host alone"; return 0; }
  [ -z "$(cuda_include)" ] || return 0
  say "installing cuBLASLt, for its header (420 MB)"
  pip_install --retries 1 --timeout 30 --no-deps "$(requirements "$setup_dir/python-cuda.txt" | grep cublas)" \
    || say "cuBLASLt cannot be had here: the CUDA kernels are compiled for the host alone"
}

ensure() {  # build|test|long
  local packages=("$setup_dir/debian-build.txt") modules=(-r "$setup_dir/python-build.txt")
  case $1 in
    build) is_ready build test long && return 0 ;;
    test) is_ready test long && return 0 ;;
    long) is_ready long && return 0 ;;
    *) fail "setup knows build, test and long, not $1" ;;
  esac
  if [ "$1" != build ]; then
    packages+=("$setup_dir/debian-test.txt"); modules+=(-r "$setup_dir/python-test.txt")
  fi
  if [ "$1" = long ]; then
    packages+=("$setup_dir/debian-long.txt"); modules+=(-r "$setup_dir/python-long.txt")
  fi
  mkdir -p "$root/build"
  exec 9>"$root/build/setup.lock"
  if command -v flock >/dev/null; then flock -w 1800 9 || fail "another setup holds build/setup.lock"; fi
  install_packages "${packages[@]}"
  make_environment
  say "installing Python packages ($1)"
  pip_install "${modules[@]}" || { tail -20 "$root/build/pip.log" >&2; fail "pip could not install ${modules[*]}"; }
  [ "$1" = build ] || { install_torch; install_cublas; unpack_sshd; }
  if ! find_cmake >/dev/null; then pip_install 'cmake>=3.25,<4' ninja; fi
  mkdir -p "$venv/stamps"
  rm -f "$venv/stamps/$1"-*
  touch "$(stamp_path "$1")"
  exec 9>&-
}

# An sshd for tests, unpacked into the environment and not installed: nothing here shall start a server.
unpack_sshd() {
  [ ! -e "$venv/sshd/usr/sbin/sshd" ] || return 0
  command -v apt-get >/dev/null || { say "no apt-get here: tests with a real sshd are skipped"; return 0; }
  local folder; folder=$(mktemp -d)
  chmod 755 "$folder"
  if (cd "$folder" && timeout 300 apt-get -qq download openssh-server libwrap0) >/dev/null 2>&1; then
    mkdir -p "$venv/sshd"
    for package in "$folder"/*.deb; do dpkg -x "$package" "$venv/sshd"; done
  else
    say "openssh-server cannot be had here: tests with a real sshd are skipped"
  fi
  rm -rf "$folder"
}

# nvcc and the libraries of CUDA 13, from PyPI where the system has none.
install_cuda() {
  local modules
  modules=$(requirements "$setup_dir/python-cuda.txt")
  if find_nvcc >/dev/null; then
    [ -z "$(cuda_include)" ] || return 0
    modules=$(grep cublas <<<"$modules")
  fi
  say "installing CUDA's compiler and libraries from PyPI (hundreds of megabytes): "$modules
  # shellcheck disable=SC2086
  pip_install $modules || { tail -20 "$root/build/pip.log" >&2; fail "pip could not install CUDA"; }
  find_nvcc >/dev/null || fail "no nvcc of CUDA 13 was found, in the environment or on the PATH"
}

# CUDA 13's compiler: the environment's, or the system's.
find_nvcc() {
  local candidate
  for candidate in "$venv"/lib/python3.*/site-packages/nvidia/cu13/bin/nvcc nvcc /usr/local/cuda/bin/nvcc; do
    if command -v "$candidate" >/dev/null && "$candidate" --version 2>/dev/null | grep -q 'release 13'; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

# Where cublasLt.h lies; empty if nowhere.
cuda_include() {
  find "$venv"/lib/python3.*/site-packages/nvidia "$venv/cuda" /usr/local/cuda/include -name cublasLt.h -print -quit 2>/dev/null \
    | xargs -r dirname
}

# Debian's cmake where it is new enough, else one on the PATH, else the environment's.
find_cmake() {
  local candidate
  for candidate in /usr/bin/cmake cmake "$venv/bin/cmake"; do
    if command -v "$candidate" >/dev/null && "$candidate" --version 2>/dev/null \
        | awk 'NR == 1 { split($3, v, "."); exit !(v[1] > 3 || (v[1] == 3 && v[2] >= 25)) }'; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}
