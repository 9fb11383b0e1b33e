#include "daemon/text/marked_text.h"

namespace facet::text {
namespace {

std::string_view gemma3_name(Mark mark) {
  switch (mark) {
    case Mark::kBos:
      return "<bos>";
    case Mark::kTurnOpen:
      return "<start_of_turn>";
    case Mark::kTurnClose:
      return "<end_of_turn>";
    case Mark::kImage:
      return "<start_of_image>";
    default:
      return "";
  }
}

std::string_view gemma4_name(Mark mark) {
  switch (mark) {
    case Mark::kBos:
      return "<bos>";
    case Mark::kTurnOpen:
      return "<|turn>";
    case Mark::kTurnClose:
      return "<turn|>";
    case Mark::kThink:
      return "<|think|>";
    case Mark::kChannelOpen:
      return "<|channel>";
    case Mark::kChannelClose:
      return "<channel|>";
    case Mark::kToolOpen:
      return "<|tool>";
    case Mark::kToolClose:
      return "<tool|>";
    case Mark::kCallOpen:
      return "<|tool_call>";
    case Mark::kCallClose:
      return "<tool_call|>";
    case Mark::kResponseOpen:
      return "<|tool_response>";
    case Mark::kResponseClose:
      return "<tool_response|>";
    case Mark::kQuote:
      return "<|\"|>";
    case Mark::kImage:
      return "<|image|>";
    case Mark::kAudio:
      return "<|audio|>";
    case Mark::kVideo:
      return "<|video|>";
  }
  return "";
}

}  // namespace

std::string_view mark_name(ChatFamily family, Mark mark) {
  return family == ChatFamily::kGemma3 ? gemma3_name(mark) : gemma4_name(mark);
}

void MarkedText::add(Mark mark) {
  marks_.push_back({static_cast<uint32_t>(text_.size()), mark});
  text_ += mark_name(family_, mark);
}

}  // namespace facet::text
