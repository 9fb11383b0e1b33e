#include "sdk/cli/sampling_flags.h"

#include <cfloat>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace facet::cli {
namespace {

template <typename Number>
bool read_whole(std::string_view text, Number& number) {
  const auto [rest, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  return wrong == std::errc() && rest == text.data() + text.size();
}

client::LogitBias logit_bias_of(std::string_view text) {
  client::LogitBias bias;
  const size_t sign = text.find('=');
  if (sign == text.npos || !read_whole(text.substr(0, sign), bias.token) ||
      !read_whole(text.substr(sign + 1), bias.bias) || !(bias.bias <= FLT_MAX)) {
    throw CLI::ValidationError("--logit-bias",
                               "takes a token id and a number, 42=-1.5, not '" + std::string(text) + "'");
  }
  return bias;
}

}  // namespace

void add_sampling_flags(CLI::App& app, client::Sampling& sampling) {
  app.add_option("--temperature", sampling.temperature, "0: always the likeliest token")
      ->capture_default_str();
  app.add_option("--top-k", sampling.top_k, "draw from the k likeliest; 0: off")->capture_default_str();
  app.add_option("--top-p", sampling.top_p, "draw from the likeliest that make up p; 1: off")
      ->capture_default_str();
  app.add_option("--min-p", sampling.min_p, "drop those below this share of the likeliest; 0: off")
      ->capture_default_str();
  app.add_option("--repeat-penalty", sampling.repeat_penalty, "tokens that came before, less likely; 1: off")
      ->capture_default_str();
  app.add_option("--presence-penalty", sampling.presence_penalty, "taken off what came before; 0: off")
      ->capture_default_str();
  app.add_option("--frequency-penalty", sampling.frequency_penalty,
                 "taken off for each time that it came before; 0: off")
      ->capture_default_str();
  app.add_option("--repeat-last-n", sampling.repeat_last_n, "tokens that the penalties look back on")
      ->capture_default_str();
  app.add_option_function<std::vector<std::string>>(
         "--logit-bias",
         [&sampling](const std::vector<std::string>& texts) {
           for (const auto& text : texts) sampling.logit_bias.push_back(logit_bias_of(text));
         },
         "added to a token's logit, -inf: never draw it (may be given again)")
      ->type_name("TOKEN=BIAS")
      ->allow_extra_args(false)
      ->take_all();
  app.add_option("--seed", sampling.seed, "the same seed gives the same answer")->capture_default_str();
}

}  // namespace facet::cli
