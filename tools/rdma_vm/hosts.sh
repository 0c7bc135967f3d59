#!/bin/bash
# hosts.sh N: inside the guest, N hosts with one address and one soft-RoCE device each: 10.9.0.i, interface hi,
# device rxei. Their packets cross a bridge, so that `tc qdisc add dev h1 root netem ...` and `ip link set b1 down`
# act on them. All lie in one network namespace (soft-RoCE carries no data in another), kept apart by rules of
# routing: a packet to a neighbour's address leaves through the own interface, and is local where it comes in.
set -euo pipefail
count=$1
mtu=4500

ip link add bridge0 type bridge
ip link set bridge0 mtu $mtu up
for scope in all default; do
  echo 0 >/proc/sys/net/ipv4/conf/$scope/rp_filter
  echo 1 >/proc/sys/net/ipv4/conf/$scope/accept_local
done
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad

for ((i = 1; i <= count; i++)); do
  ip link add "h$i" mtu $mtu type veth peer name "b$i" mtu $mtu
  ip link set "b$i" master bridge0 up
  ip addr add "10.9.0.$i/24" dev "h$i" noprefixroute
  ip link set "h$i" up
  table=$((100 + i))
  ip route add 10.9.0.0/24 dev "h$i" src "10.9.0.$i" table $table
  ip rule add pref 10 iif "h$i" lookup local
  ip rule add pref 20 from "10.9.0.$i" to "10.9.0.$i" lookup local
  ip rule add pref 21 from "10.9.0.$i" to 10.9.0.0/24 lookup $table
done
ip rule add pref 100 lookup local
ip rule del pref 0

for ((i = 1; i <= count; i++)); do
  rdma link add "rxe$i" type rxe netdev "h$i"
done
# The second identifier of a port is its IPv4 address; it comes a little later.
for ((i = 1; i <= count; i++)); do
  for ((tries = 0; tries < 200; tries++)); do
    if grep -q ffff:0a09 "/sys/class/infiniband/rxe$i/ports/1/gids/1"; then continue 2; fi
    sleep 0.05
  done
  echo "rxe$i got no address" >&2
  exit 1
done
