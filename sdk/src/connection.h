// One connection that several threads share.
//
// A *call* is one request with its own id, or several with ids in a row; what the daemon says about them
// waits in the call's mailbox. There is no reading thread: of the threads that wait for an answer one
// *leads*: it reads the socket, fills the mailboxes, and takes its own messages straight from there, without
// another thread in between. When it has what it waited for it hands the lead to another waiting thread. If
// no thread waits nobody reads, and credit bounds what the daemon sends meanwhile.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "daemon/base/result.h"
#include "sdk/protocol/codec.h"
#include "sdk/protocol/framing.h"
#include "sdk/protocol/messages.h"
#include "sdk/src/socket.h"

namespace facet::client {

// What a message is about; 0: the connection.
protocol::RequestId request_of(const protocol::ServerMessage& message);

class Connection {
 public:
  // A call is open from its constructor to its destructor. It belongs to one thread; the connection outlives
  // it.
  class Call {
   public:
    // At most `mailbox` messages of each of `requests` may wait; a daemon that sends more broke its word, and
    // the connection ends.
    Call(Connection& connection, size_t mailbox, uint32_t requests = 1);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // Of the first request.
    protocol::RequestId id() const { return id_; }
    // Sends a message of this call. If the connection is lost, the error is what the daemon last said about
    // it.
    facet::Result<void> send(const protocol::ClientMessage& message);
    // Waits for the next message of this call. The error is the connection's.
    facet::Result<protocol::ServerMessage> next();

   private:
    friend class Connection;
    Connection& connection_;
    const uint32_t requests_;
    const protocol::RequestId id_;
    const size_t most_;
    // Under the connection's mutex:
    std::deque<protocol::ServerMessage> mailbox_;
    bool waits_ = false;
    std::condition_variable wake_;
  };

  // Says hello, and waits for the daemon's.
  static facet::Result<std::unique_ptr<Connection>> open(const std::string& path, const std::string& app,
                                                         Deadline deadline);

  const protocol::ServerHello& hello() const { return hello_; }

  // Sends one message, from any thread. too_large: over the daemon's limit, nothing was sent. Other errors
  // are the connection's, or of the message itself.
  facet::Result<void> send(const protocol::ClientMessage& message);

 private:
  explicit Connection(Socket socket) : socket_(std::move(socket)) {}

  facet::Result<void> greet(const std::string& app, Deadline deadline);
  facet::Result<void> write(const protocol::Bytes& bytes);
  void read_while_writing();
  void lead(std::unique_lock<std::mutex>& lock);
  void hand_over();
  facet::Result<void> receive();
  facet::Result<void> take_frames();
  void dispatch(protocol::ServerMessage message);
  void lose(facet::Error why);

  Socket socket_;
  protocol::ServerHello hello_;
  protocol::FrameReader reader_;  // of the leader
  std::mutex writing_;            // held while a message is written; never taken under mutex_

  std::mutex mutex_;
  bool led_ = false;
  std::optional<facet::Error> lost_;
  protocol::RequestId next_id_ = 1;
  std::map<protocol::RequestId, Call*> calls_;
};

}  // namespace facet::client
