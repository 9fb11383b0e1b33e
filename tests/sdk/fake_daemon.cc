#include "tests/sdk/fake_daemon.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace facet::test {

Peer::~Peer() {
  ::close(descriptor_);
}

std::optional<protocol::ClientMessage> Peer::next(std::chrono::milliseconds within) {
  for (;;) {
    auto frame = reader_.next();
    if (!frame.ok()) return std::nullopt;
    if (!frame->empty()) {
      auto message = protocol::decode_client(*frame);
      if (!message.ok()) return std::nullopt;
      return *std::move(message);
    }
    pollfd entry = {descriptor_, POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(within.count())) <= 0) return std::nullopt;
    auto space = reader_.space();
    ssize_t n = ::recv(descriptor_, space.data(), space.size(), 0);
    if (n <= 0) return std::nullopt;
    reader_.filled(static_cast<size_t>(n));
  }
}

void Peer::send(const protocol::ServerMessage& message) {
  protocol::Bytes bytes;
  if (!protocol::encode(message, bytes).ok()) throw std::logic_error("a script's message does not encode");
  send_bytes(bytes);
}

void Peer::send_bytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;  // the client left
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void Peer::shut() {
  ::shutdown(descriptor_, SHUT_RDWR);
}

void Peer::greet(std::vector<std::string> features, protocol::Limits limits) {
  if (!next_of<protocol::ClientHello>()) return;
  protocol::ServerHello hello;
  hello.server = "fake 1.0";
  hello.features = std::move(features);
  hello.limits = limits;
  hello.limits.message_bytes = 1 << 20;
  send(hello);
}

void Peer::send_tokens(protocol::RequestId id, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; ++i) {
    send(protocol::Token{
        .id = id, .sequence = i, .token = 100 + i, .text = std::to_string(i) + " ", .alternatives = {}});
  }
}

void Peer::send_finish(protocol::RequestId id, uint32_t tokens, protocol::FinishReason reason,
                       const std::string& rest) {
  send(protocol::Finish{id, reason, rest, {3, tokens}, {10, 20000, 300000}});
}

FakeDaemon::FakeDaemon(Script script) : script_(std::move(script)) {
  char name[] = "/tmp/facet-test-XXXXXX";
  if (!mkdtemp(name)) throw std::runtime_error("mkdtemp");
  folder_ = name;
  path_ = folder_ + "/facet.sock";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_, 64) != 0) {
    throw std::runtime_error("a socket in " + folder_);
  }
  acceptor_ = std::thread([this] { accept_clients(); });
}

FakeDaemon::~FakeDaemon() {
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (auto& client : clients_) client.join();
  ::close(listener_);
  ::unlink(path_.c_str());
  ::rmdir(folder_.c_str());
}

void FakeDaemon::accept_clients() {
  for (;;) {
    int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (descriptor < 0) return;
    clients_.emplace_back([this, descriptor] {
      Peer peer(descriptor);
      script_(peer);
    });
  }
}

}  // namespace facet::test
