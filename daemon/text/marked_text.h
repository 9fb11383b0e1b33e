// Marked text: text in which some stretches are marks.
//
// A *mark* is a control token of a chat format: what opens and closes turns, thoughts, calls and strings. It
// has a name that can be shown ("<|turn>"), but the same letters typed by someone are plain text. So a prompt
// is kept as its text and the places of its marks, and only what is a mark becomes a control token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace facet::text {

// A chat format belongs to a family of models.
enum class ChatFamily : uint8_t {
  kGemma3,
  kGemma4,
  kGemma4Small,  // E2B and E4B: an answer without thoughts does not begin with an empty one
};

enum class Mark : uint8_t {
  kBos,
  kTurnOpen,
  kTurnClose,
  kThink,  // asks for thoughts
  kChannelOpen,
  kChannelClose,
  kToolOpen,  // a declaration
  kToolClose,
  kCallOpen,
  kCallClose,
  kResponseOpen,
  kResponseClose,
  kQuote,  // on both sides of a string in a declaration, call or response
  kImage,
  kAudio,
  kVideo,
};
inline constexpr size_t kMarks = 16;

// The piece of the mark's token; empty if the family has no such mark.
std::string_view mark_name(ChatFamily family, Mark mark);

struct PlacedMark {
  uint32_t at = 0;  // where its name begins in the text, in bytes
  Mark mark = Mark::kBos;
};

// A value that only grows; at most 4 GiB. Thread-compatible.
class MarkedText {
 public:
  explicit MarkedText(ChatFamily family) : family_(family) {}

  void add(std::string_view plain) { text_ += plain; }
  // Only a mark that the family has.
  void add(Mark mark);

  ChatFamily family() const { return family_; }
  // Plain text, and the marks by their names.
  const std::string& text() const { return text_; }
  // In the order of their places.
  std::span<const PlacedMark> marks() const { return marks_; }

 private:
  ChatFamily family_;
  std::string text_;
  std::vector<PlacedMark> marks_;
};

}  // namespace facet::text
