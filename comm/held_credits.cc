#include "comm/held_credits.h"

namespace oneflow::comm {

HeldCredits::Held HeldCredits::Hold(const Channel& channel, int64_t posted, Outbox* outbox) {
  const auto has_another = [&] { return posted > channel.arrived.load(); };
  // Larger ones gain little by it, and wait longer for it.
  if (std::this_thread::get_id() != thread_.load() || channel.bytes > Outbox::kInlineBytes ||
      !has_another()) {
    return Held::kNo;
  }
  outbox->Hold(OutFrame::Of(FrameType::kCredit, channel.remote));
  of_[static_cast<size_t>(channel.peer)].store(true);
  any_.store(true);
  // Whoever counted the message meanwhile may have looked here before.
  return has_another() ? Held::kYes : Held::kDone;
}

}  // namespace oneflow::comm
