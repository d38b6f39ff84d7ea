#!/usr/bin/env bash
# Sourced by scripts/demo and scripts/test: makes sure that a Rust toolchain and a Vulkan driver
# are there. Installs a driver by the system's package manager only where none is found, and
# says so before.
set -euo pipefail

say() { printf '%s\n' "$@" >&2; }

need_cargo() {
  command -v cargo >/dev/null 2>&1 && return
  say "cargo was not found; install a Rust toolchain (1.95 or later) from https://rustup.rs"
  exit 1
}

has_vulkan_driver() {
  [ "$(uname -s)" = Linux ] || return 0
  [ -n "${VK_DRIVER_FILES:-}" ] && return 0
  local manifest loader
  for manifest in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
    [ -e "$manifest" ] || continue
    for loader in /usr/lib/*/libvulkan.so.1 /usr/lib*/libvulkan.so.1 /lib/*/libvulkan.so.1; do
      [ -e "$loader" ] && return 0
    done
  done
  return 1
}

need_vulkan() {
  has_vulkan_driver && return
  local root=""
  [ "$(id -u)" -eq 0 ] || root="sudo"
  if command -v apt-get >/dev/null 2>&1; then
    say "No Vulkan driver was found; installing mesa-vulkan-drivers and libvulkan1 with apt-get."
    $root apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq mesa-vulkan-drivers libvulkan1 >&2
  elif command -v dnf >/dev/null 2>&1; then
    say "No Vulkan driver was found; installing mesa-vulkan-drivers and vulkan-loader with dnf."
    $root dnf install -y -q mesa-vulkan-drivers vulkan-loader >&2
  elif command -v pacman >/dev/null 2>&1; then
    say "No Vulkan driver was found; installing vulkan-swrast and vulkan-icd-loader with pacman."
    $root pacman -S --noconfirm --needed vulkan-swrast vulkan-icd-loader >&2
  else
    say "No Vulkan driver was found; install one (Mesa's also brings a software device)."
    exit 1
  fi
}

need_cargo
need_vulkan
