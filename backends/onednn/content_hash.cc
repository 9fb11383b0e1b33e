#include "backends/onednn/content_hash.h"

#include <xxhash.h>

#include <algorithm>
#include <new>

namespace facet::cpu {

ContentHash::ContentHash() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  reset();
}

void ContentHash::reset() {
  XXH3_128bits_reset(state_.get());
}

void ContentHash::add(const uint8_t* data, size_t bytes) {
  XXH3_128bits_update(state_.get(), data, bytes);
}

ContentHash::Digest ContentHash::digest() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
  Digest digest;
  std::copy_n(canonical.digest, digest.size(), digest.begin());
  return digest;
}

void ContentHash::Free::operator()(XXH3_state_s* state) const {
  XXH3_freeState(state);
}

}  // namespace facet::cpu
