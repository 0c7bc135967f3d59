#!/bin/busybox sh
# /init of the guest: loads the modules, puts a layer of memory over the host's files, runs one command there.
# From the kernel's command line: guest.share (a folder, writable, at its own path), guest.command (below it).
# The exit code goes into the share's file `exit-code`.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
  insmod "/modules/$module" || echo "guest: $module was not loaded"
done </modules/order
value() { sed -n "s/.*guest\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
share=$(value share)
command=$(value command)
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "$options,ro,cache=loose" host /lower
mount -t tmpfs tmpfs /upper
mkdir -p /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount --move /dev /new/dev
mkdir -p /new/dev/shm /new/dev/pts
for folder in dev/shm run tmp; do mount -t tmpfs tmpfs "/new/$folder"; done
mount -t devpts devpts /new/dev/pts
mkdir -p "/new$share"
mount -t 9p -o "$options,cache=none" share "/new$share"
ip link set lo up
chroot /new /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp \
  bash -c "ulimit -l unlimited; ulimit -n 65536; cd '$share' && exec bash ./$command"
echo $? >"/new$share/exit-code"
sync
poweroff -f
