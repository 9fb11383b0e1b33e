// The vocabulary that a GGUF file carries under its `tokenizer.ggml.*` keys.
#pragma once

#include "daemon/base/result.h"
#include "daemon/model/gguf.h"
#include "daemon/text/vocabulary.h"

namespace facet::model {

// The pieces stay views of the file's map: `file` outlives the vocabulary. Works for a file without tensors
// too. FACET_UNSUPPORTED, by its name, for a tokenizer other than "llama" (SentencePiece's BPE) and "gemma4";
// FACET_NOT_FOUND or FACET_MALFORMED for a key that is missing or wrong, and the errors of
// text::Vocabulary::make.
//
// A "gemma4" file always asks for BOS, and its scores may be missing: nothing reads them.
//
// A token that closes an answer ("<end_of_turn>", "<turn|>", ...) ends generation and is a control token,
// whatever kind the file gives it: its name in a text is plain text unless control tokens are asked for.
Result<text::Vocabulary> read_vocabulary(const GgufFile& file);

}  // namespace facet::model
