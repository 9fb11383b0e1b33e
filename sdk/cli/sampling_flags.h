// The flags that say how tokens are drawn; every command that generates has them.
#pragma once

#include <CLI/CLI.hpp>
#include <facet/client.hpp>

namespace facet::cli {

// `sampling` must outlive the parsing; what it holds is the default that --help shows.
void add_sampling_flags(CLI::App& app, client::Sampling& sampling);

}  // namespace facet::cli
