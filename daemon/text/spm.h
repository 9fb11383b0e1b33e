// The merging of SentencePiece's BPE models (`tokenizer.ggml.model` = "llama"), as Gemma 3 uses it.
//
// Two neighbours merge if both together are a normal piece; the piece with the highest score comes first.
#pragma once

#include "daemon/text/merges.h"
#include "daemon/text/vocabulary.h"

namespace facet::text {

// Every way to put a normal piece together from two pieces or characters is a merge. Errors of
// PieceIndex::make and Merges::make.
Result<Merges> make_spm(const Vocabulary& vocabulary);

}  // namespace facet::text
