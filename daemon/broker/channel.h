// A connected stream socket in the event loop: whole frames come in, whole frames go out.
//
// What the socket does not take at once waits in the *outbox*. A channel *ends* once, by close() or from the
// other side, and then says so, as the last thing it does: its owner may destroy it in on_ended() or later,
// never before (or after the loop's end). Everything happens on the loop's thread.
#pragma once

#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <optional>
#include <span>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/base/unique_fd.h"
#include "sdk/protocol/framing.h"

namespace facet::broker {

class Channel {
 public:
  // Called from the loop, never from within a call to the channel.
  class Owner {
   public:
    virtual void on_frame(protocol::Frame frame) = 0;
    // So many bytes are received and make no whole frame yet.
    virtual void on_partial(size_t bytes) = 0;
    // What comes is no frame that we read: nothing more is handed out. The owner ends the channel.
    virtual void on_unreadable(const Error& why) = 0;
    // The outbox is empty again.
    virtual void on_written() = 0;
    // cancelled: by close(); unavailable: the other side closed; io.
    virtual void on_ended(const Error& why) = 0;

   protected:
    ~Owner() = default;
  };

  Channel(asio::io_context& loop, UniqueFd socket, size_t max_frame_bytes, Owner& owner);

  // Begins to read.
  void start();
  // Sends whole frames, in order. Nothing happens once the channel is closed.
  void send(std::span<const std::byte> frames);
  // Bytes in the outbox.
  size_t unsent() const { return outbox_.size() - sent_; }

  // While held no frame is handed out and nothing is read.
  void hold_input(bool held);
  // Reads no more; ends when the outbox is empty.
  void finish();
  void close();

 private:
  void wait_readable();
  void wait_writable();
  void receive();
  void hand_out();
  void hand_out_later();
  void flush();
  void end(Error why);
  void handled();

  asio::local::stream_protocol::socket socket_;
  protocol::FrameReader reader_;
  Owner& owner_;
  std::vector<std::byte> outbox_;
  size_t sent_ = 0;  // bytes at the outbox's front that are written
  int waiting_ = 0;  // handlers that the loop still holds
  bool reading_ = false;
  bool writing_ = false;
  bool held_ = false;
  bool later_ = false;  // hand_out() is posted
  bool finishing_ = false;
  std::optional<Error> end_;
};

}  // namespace facet::broker
