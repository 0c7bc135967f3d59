// libibverbs, opened at run time: a program that never meets an adapter never needs it.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "comm/verbs/verbs.h"

#ifdef ONEFLOW_HAS_VERBS_HEADER
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "base/status.h"
#endif

namespace oneflow::comm {
namespace {

#ifdef ONEFLOW_HAS_VERBS_HEADER

// 4.096 us x 2^16 until a packet counts as lost, six times over: an adapter gives up after 2 s. Seven
// retries would mean for ever to soft-RoCE, as seven would for a receiver that is not ready to all.
constexpr uint8_t kTimeout = 16;
constexpr uint8_t kRetries = 6;
constexpr uint8_t kNotReadyRetries = 6;
constexpr uint8_t kNotReadyTimer = 12;  // 0.64 ms

absl::Status Failure(const std::string& what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

// The functions that are symbols; the others go through tables in what these return.
struct Table {
  decltype(&ibv_get_device_list) get_device_list;
  decltype(&ibv_free_device_list) free_device_list;
  decltype(&ibv_get_device_name) get_device_name;
  decltype(&ibv_open_device) open_device;
  decltype(&ibv_close_device) close_device;
  decltype(&ibv_query_device) query_device;
  decltype(&ibv_query_port) query_port;
  decltype(&ibv_query_gid) query_gid;
  decltype(&ibv_alloc_pd) alloc_pd;
  decltype(&ibv_dealloc_pd) dealloc_pd;
  decltype(&ibv_reg_mr) reg_mr;
  decltype(&ibv_reg_dmabuf_mr) reg_dmabuf_mr;  // nullptr in libraries before 34
  decltype(&ibv_dereg_mr) dereg_mr;
  decltype(&ibv_create_comp_channel) create_comp_channel;
  decltype(&ibv_destroy_comp_channel) destroy_comp_channel;
  decltype(&ibv_create_cq) create_cq;
  decltype(&ibv_destroy_cq) destroy_cq;
  decltype(&ibv_get_cq_event) get_cq_event;
  decltype(&ibv_ack_cq_events) ack_cq_events;
  decltype(&ibv_create_qp) create_qp;
  decltype(&ibv_modify_qp) modify_qp;
  decltype(&ibv_destroy_qp) destroy_qp;
  decltype(&ibv_fork_init) fork_init;
};

absl::StatusOr<std::shared_ptr<const Table>> LoadTable() {
  constexpr char kName[] = "libibverbs.so.1";
  // Never closed: its drivers have threads and exit handlers of their own.
  void* const library = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::NotFoundError(absl::StrCat(kName, " cannot be loaded (", dlerror(),
                                            "); it is in the package libibverbs1"));
  }
  auto table = std::make_shared<Table>();
  std::string missing;
  const auto find = [&](auto* function, const char* name, const char* version, bool needed = true) {
    // A symbol has several versions there, of which dlsym may take the oldest.
    void* const found = dlvsym(library, name, version);
    if (found == nullptr && needed) absl::StrAppend(&missing, " ", name, "@", version);
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(found);
  };
  constexpr char kFirst[] = "IBVERBS_1.0", kMain[] = "IBVERBS_1.1";
  find(&table->get_device_list, "ibv_get_device_list", kMain);
  find(&table->free_device_list, "ibv_free_device_list", kMain);
  find(&table->get_device_name, "ibv_get_device_name", kMain);
  find(&table->open_device, "ibv_open_device", kMain);
  find(&table->close_device, "ibv_close_device", kMain);
  find(&table->query_device, "ibv_query_device", kMain);
  find(&table->query_port, "ibv_query_port", kMain);
  find(&table->query_gid, "ibv_query_gid", kMain);
  find(&table->alloc_pd, "ibv_alloc_pd", kMain);
  find(&table->dealloc_pd, "ibv_dealloc_pd", kMain);
  find(&table->reg_mr, "ibv_reg_mr", kMain);
  find(&table->reg_dmabuf_mr, "ibv_reg_dmabuf_mr", "IBVERBS_1.12", /*needed=*/false);
  find(&table->dereg_mr, "ibv_dereg_mr", kMain);
  find(&table->create_comp_channel, "ibv_create_comp_channel", kFirst);
  find(&table->destroy_comp_channel, "ibv_destroy_comp_channel", kFirst);
  find(&table->create_cq, "ibv_create_cq", kMain);
  find(&table->destroy_cq, "ibv_destroy_cq", kMain);
  find(&table->get_cq_event, "ibv_get_cq_event", kMain);
  find(&table->ack_cq_events, "ibv_ack_cq_events", kMain);
  find(&table->create_qp, "ibv_create_qp", kMain);
  find(&table->modify_qp, "ibv_modify_qp", kMain);
  find(&table->destroy_qp, "ibv_destroy_qp", kMain);
  find(&table->fork_init, "ibv_fork_init", kMain);
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat(kName, " is too old: it has no", missing));
  }
  // Data loaders fork. Where the kernel copies pinned pages for the child this does nothing; elsewhere
  // it keeps them out of the child.
  (void)table->fork_init();
  return table;
}

// An opened device and its protection domain.
struct Device {
  explicit Device(std::shared_ptr<const Table> functions) : table(std::move(functions)) {}
  ~Device() {
    if (domain != nullptr) table->dealloc_pd(domain);
    if (context != nullptr) table->close_device(context);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::shared_ptr<const Table> table;
  ibv_context* context = nullptr;
  ibv_pd* domain = nullptr;
  std::string name;
  uint8_t port = 0;
  int gid_index = 0;
  QueuePairAddress address;
  uint64_t longest_write = 0;
  uint32_t most_work = 0;
};

class Memory final : public RegisteredMemory {
 public:
  Memory(std::shared_ptr<Device> device, ibv_mr* region)
      : device_(std::move(device)), region_(region) {}
  ~Memory() override { device_->table->dereg_mr(region_); }
  uint32_t local_key() const override { return region_->lkey; }
  uint32_t remote_key() const override { return region_->rkey; }

 private:
  const std::shared_ptr<Device> device_;
  ibv_mr* const region_;
};

class Completions final : public CompletionQueue {
 public:
  explicit Completions(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Completions() override {
    if (queue_ != nullptr) device_->table->destroy_cq(queue_);
    if (channel_ != nullptr) device_->table->destroy_comp_channel(channel_);
  }
  absl::Status Make(uint32_t places) {
    channel_ = device_->table->create_comp_channel(device_->context);
    if (channel_ == nullptr) return Failure("ibv_create_comp_channel", errno);
    if (fcntl(channel_->fd, F_SETFL, fcntl(channel_->fd, F_GETFL) | O_NONBLOCK) != 0) {
      return Failure("fcntl", errno);
    }
    queue_ =
        device_->table->create_cq(device_->context, static_cast<int>(places), nullptr, channel_, 0);
    if (queue_ == nullptr) return Failure("ibv_create_cq", errno);
    return absl::OkStatus();
  }
  ibv_cq* queue() const { return queue_; }

  int fd() const override { return channel_->fd; }
  absl::StatusOr<size_t> Poll(Completion* completions, size_t room) override {
    ibv_wc found[16];
    const int most = static_cast<int>(std::min(room, std::size(found)));
    const int count = ibv_poll_cq(queue_, most, found);
    if (count < 0) return absl::UnavailableError("ibv_poll_cq failed");
    for (int i = 0; i < count; ++i) {
      completions[i] = {found[i].wr_id, found[i].status, false, 0};
      // Of a failed one nothing but id and status can be read.
      if (found[i].status != IBV_WC_SUCCESS) continue;
      completions[i].received = found[i].opcode == IBV_WC_RECV_RDMA_WITH_IMM;
      if (completions[i].received) completions[i].immediate = ntohl(found[i].imm_data);
    }
    return static_cast<size_t>(count);
  }
  absl::Status Arm() override {
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    unsigned events = 0;
    while (device_->table->get_cq_event(channel_, &queue, &context) == 0) ++events;
    if (events > 0) device_->table->ack_cq_events(queue_, events);
    const int error = ibv_req_notify_cq(queue_, 0);
    return error == 0 ? absl::OkStatus() : Failure("ibv_req_notify_cq", error);
  }

 private:
  const std::shared_ptr<Device> device_;
  ibv_comp_channel* channel_ = nullptr;
  ibv_cq* queue_ = nullptr;
};

class Pair final : public QueuePair {
 public:
  explicit Pair(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Pair() override {
    if (pair_ != nullptr) device_->table->destroy_qp(pair_);
  }
  absl::Status Make(ibv_cq* queue, uint32_t writes, uint32_t receives) {
    ibv_qp_init_attr wanted{};
    wanted.send_cq = wanted.recv_cq = queue;
    wanted.qp_type = IBV_QPT_RC;
    wanted.cap.max_send_wr = writes;
    wanted.cap.max_recv_wr = receives;
    wanted.cap.max_send_sge = wanted.cap.max_recv_sge = 1;
    pair_ = device_->table->create_qp(device_->domain, &wanted);
    if (pair_ == nullptr) return Failure("ibv_create_qp", errno);
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_INIT;
    attributes.port_num = device_->port;
    attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
    return Modify(&attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
                  "make a queue pair");
  }

  uint32_t number() const override { return pair_->qp_num; }
  absl::Status Connect(uint32_t sequence, const QueuePairAddress& peer) override {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_RTR;
    attributes.path_mtu = static_cast<ibv_mtu>(std::min(peer.mtu, device_->address.mtu));
    attributes.dest_qp_num = peer.number;
    attributes.rq_psn = peer.sequence;
    attributes.max_dest_rd_atomic = 1;
    attributes.min_rnr_timer = kNotReadyTimer;
    attributes.ah_attr.port_num = device_->port;
    attributes.ah_attr.dlid = peer.lid;
    if (peer.link == IBV_LINK_LAYER_ETHERNET || peer.lid == 0) {
      attributes.ah_attr.is_global = 1;
      attributes.ah_attr.grh.sgid_index = static_cast<uint8_t>(device_->gid_index);
      attributes.ah_attr.grh.hop_limit = 64;
      std::memcpy(attributes.ah_attr.grh.dgid.raw, peer.gid.data(), peer.gid.size());
    }
    if (const absl::Status ready =
            Modify(&attributes,
                   IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                       IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
                   "connect a queue pair");
        !ready.ok()) {
      return ready;
    }
    attributes = {};
    attributes.qp_state = IBV_QPS_RTS;
    attributes.sq_psn = sequence;
    attributes.timeout = kTimeout;
    attributes.retry_cnt = kRetries;
    attributes.rnr_retry = kNotReadyRetries;
    attributes.max_rd_atomic = 1;
    return Modify(&attributes,
                  IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                      IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC,
                  "start a queue pair");
  }
  absl::Status PostReceive(uint64_t id) override {
    ibv_recv_wr work{}, *bad = nullptr;
    work.wr_id = id;
    const int error = ibv_post_recv(pair_, &work, &bad);
    return error == 0 ? absl::OkStatus() : Failure("ibv_post_recv", error);
  }
  absl::Status PostWrite(const RemoteWrite& write) override {
    ibv_sge part{};
    part.addr = reinterpret_cast<uint64_t>(write.source);
    part.length = static_cast<uint32_t>(write.bytes);
    part.lkey = write.local_key;
    ibv_send_wr work{}, *bad = nullptr;
    work.wr_id = write.id;
    work.sg_list = &part;
    work.num_sge = write.bytes > 0 ? 1 : 0;
    work.opcode = write.immediate ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE;
    work.send_flags = IBV_SEND_SIGNALED;
    work.imm_data = htonl(write.immediate.value_or(0));
    work.wr.rdma.remote_addr = write.address;
    work.wr.rdma.rkey = write.remote_key;
    const int error = ibv_post_send(pair_, &work, &bad);
    return error == 0 ? absl::OkStatus() : Failure("ibv_post_send", error);
  }
  void Stop() override {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_ERR;
    (void)device_->table->modify_qp(pair_, &attributes, IBV_QP_STATE);
  }

 private:
  absl::Status Modify(ibv_qp_attr* attributes, int mask, const char* what) {
    const int error = device_->table->modify_qp(pair_, attributes, mask);
    if (error == 0) return absl::OkStatus();
    return Failure(absl::StrCat(device_->name, " cannot ", what, ": ibv_modify_qp"), error);
  }

  const std::shared_ptr<Device> device_;
  ibv_qp* pair_ = nullptr;
};

class Port final : public RdmaPort {
 public:
  explicit Port(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  std::string name() const override { return absl::StrCat(device_->name, ":", device_->port); }
  QueuePairAddress address() const override { return device_->address; }
  uint64_t longest_write() const override { return device_->longest_write; }
  uint32_t most_work() const override { return device_->most_work; }

  absl::StatusOr<std::unique_ptr<RegisteredMemory>> Register(std::byte* data, uint64_t bytes,
                                                             Rights rights) override {
    ibv_mr* const region =
        device_->table->reg_mr(device_->domain, data, bytes, static_cast<int>(Flags(rights)));
    return Registered(region, "ibv_reg_mr", bytes);
  }
  absl::StatusOr<std::unique_ptr<RegisteredMemory>> RegisterDmaBuffer(
      int descriptor, uint64_t offset, uint64_t bytes, uint64_t address, Rights rights) override {
    if (device_->table->reg_dmabuf_mr == nullptr) {
      return absl::UnimplementedError("libibverbs is older than DMA buffers (34)");
    }
    ibv_mr* const region = device_->table->reg_dmabuf_mr(
        device_->domain, offset, bytes, address, descriptor, static_cast<int>(Flags(rights)));
    return Registered(region, "ibv_reg_dmabuf_mr", bytes);
  }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> MakeCompletionQueue(uint32_t places) override {
    auto queue = std::make_unique<Completions>(device_);
    OF_RETURN_IF_ERROR(queue->Make(places));
    return std::unique_ptr<CompletionQueue>(std::move(queue));
  }
  absl::StatusOr<std::unique_ptr<QueuePair>> MakeQueuePair(CompletionQueue* completions,
                                                           uint32_t writes,
                                                           uint32_t receives) override {
    auto pair = std::make_unique<Pair>(device_);
    OF_RETURN_IF_ERROR(
        pair->Make(static_cast<Completions*>(completions)->queue(), writes, receives));
    return std::unique_ptr<QueuePair>(std::move(pair));
  }

 private:
  // What a peer may write, this side may as well: the adapters ask for it.
  static unsigned Flags(Rights rights) {
    return rights == Rights::kRemoteWrite ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE : 0u;
  }
  absl::StatusOr<std::unique_ptr<RegisteredMemory>> Registered(ibv_mr* region, const char* call,
                                                               uint64_t bytes) const {
    if (region == nullptr) {
      const int error = errno;
      return Failure(absl::StrCat(device_->name, " cannot register ", bytes, " bytes (", call, ")",
                                  error == ENOMEM ? "; raise memlock (ulimit -l unlimited)" : ""),
                     error);
    }
    return std::unique_ptr<RegisteredMemory>(std::make_unique<Memory>(device_, region));
  }

  const std::shared_ptr<Device> device_;
};

class Library final : public Verbs {
 public:
  absl::StatusOr<std::shared_ptr<RdmaPort>> Open(const std::string& device,
                                                 const Gid& near) override {
    if (table_ == nullptr) {
      OF_ASSIGN_OR_RETURN(table_, LoadTable());
    }
    int count = 0;
    ibv_device** const list = table_->get_device_list(&count);
    if (list == nullptr && errno == ENOSYS) {
      return absl::NotFoundError("no RDMA adapter (the kernel's ib_uverbs is not loaded)");
    }
    if (list == nullptr) return Failure("ibv_get_device_list", errno);
    const auto free_list = [this](ibv_device** devices) { table_->free_device_list(devices); };
    const std::unique_ptr<ibv_device*, decltype(free_list)> owner(list, free_list);
    std::vector<std::pair<std::string, ibv_device*>> named;
    for (int i = 0; i < count; ++i) named.push_back({table_->get_device_name(list[i]), list[i]});
    std::sort(named.begin(), named.end());
    std::shared_ptr<Device> best;
    int best_fitness = -1;
    std::string why_not;
    for (const auto& [name, candidate] : named) {
      if (!device.empty() && name != device) continue;
      // By the number of the port, from 1.
      for (uint8_t port = 1; port != 0; ++port) {
        auto opened = std::make_shared<Device>(table_);
        opened->name = name;
        opened->port = port;
        int ports = 0;
        const absl::StatusOr<int> fitness = Look(candidate, near, opened.get(), &ports);
        if (fitness.ok() && *fitness > best_fitness) {
          best = opened;
          best_fitness = *fitness;
        } else if (!fitness.ok()) {
          absl::StrAppend(&why_not, why_not.empty() ? "" : "; ", MessageOf(fitness.status()));
        }
        if (port >= ports) break;
      }
    }
    if (best != nullptr) {
      best->domain = table_->alloc_pd(best->context);
      if (best->domain == nullptr) return Failure("ibv_alloc_pd", errno);
      return std::shared_ptr<RdmaPort>(std::make_shared<Port>(std::move(best)));
    }
    if (!why_not.empty()) return absl::NotFoundError(why_not);
    return absl::NotFoundError(device.empty() ? std::string("no RDMA adapter")
                                              : absl::StrCat("no RDMA adapter `", device, "`"));
  }

 private:
  // Opens the port; how well it fits.
  absl::StatusOr<int> Look(ibv_device* candidate, const Gid& near, Device* device,
                           int* ports) const {
    device->context = table_->open_device(candidate);
    const std::string name = absl::StrCat(device->name, ":", device->port);
    if (device->context == nullptr) return Failure(absl::StrCat("cannot open ", name), errno);
    ibv_device_attr limits{};
    if (const int error = table_->query_device(device->context, &limits); error != 0) {
      return Failure(absl::StrCat("cannot ask ", name), error);
    }
    *ports = limits.phys_port_cnt;
    ibv_port_attr port{};
    // The old form of the function fills the part that it shares with the new one.
    const int error = table_->query_port(device->context, device->port,
                                         reinterpret_cast<_compat_ibv_port_attr*>(&port));
    if (error != 0) return Failure(absl::StrCat("cannot ask ", name), error);
    if (port.state != IBV_PORT_ACTIVE) {
      return absl::NotFoundError(absl::StrCat(name, " is not active"));
    }
    // Soft-RoCE says 8 MiB and takes more in silence.
    device->longest_write = std::clamp<uint64_t>(port.max_msg_sz, 4096, uint64_t{1} << 30);
    device->most_work = static_cast<uint32_t>(std::max(limits.max_qp_wr, 1));
    device->address.lid = port.lid;
    device->address.link = port.link_layer == IBV_LINK_LAYER_ETHERNET ? IBV_LINK_LAYER_ETHERNET
                                                                      : IBV_LINK_LAYER_INFINIBAND;
    device->address.mtu = static_cast<uint8_t>(port.active_mtu);
    int best = -1;
    for (int i = 0; i < port.gid_tbl_len; ++i) {
      ibv_gid gid{};
      if (table_->query_gid(device->context, device->port, i, &gid) != 0) continue;
      Gid bytes;
      std::memcpy(bytes.data(), gid.raw, bytes.size());
      if (bytes == Gid{}) continue;
      const int fitness = Fitness(*device, i, bytes, near);
      if (fitness <= best) continue;
      best = fitness;
      device->gid_index = i;
      device->address.gid = bytes;
    }
    if (best < 0) return absl::NotFoundError(absl::StrCat(name, " has no address"));
    return best;
  }
  // RoCE v2 crosses routers, so it goes first; a link-local address crosses none.
  static int Fitness(const Device& device, int index, const Gid& gid, const Gid& near) {
    if (device.address.link != IBV_LINK_LAYER_ETHERNET) return index == 0 ? 3 : 0;
    std::ifstream file(absl::StrCat("/sys/class/infiniband/", device.name, "/ports/", device.port,
                                    "/gid_attrs/types/", index));
    std::string type;
    std::getline(file, type);
    if (type != "RoCE v2") return 0;
    if (gid == near) return 4;
    static constexpr Gid kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (std::equal(gid.begin(), gid.begin() + 12, kMapped.begin())) return 3;
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80 ? 1 : 2;
  }

  std::shared_ptr<const Table> table_;
};

#else

class Library final : public Verbs {
 public:
  absl::StatusOr<std::shared_ptr<RdmaPort>> Open(const std::string&, const Gid&) override {
    return absl::UnimplementedError(
        "this build has no RDMA: infiniband/verbs.h (package libibverbs-dev) was missing");
  }
};

#endif

}  // namespace

std::unique_ptr<Verbs> SystemVerbs() { return std::make_unique<Library>(); }

}  // namespace oneflow::comm
