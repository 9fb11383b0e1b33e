// `facet models` and `facet status`: as a table for people or as one JSON value. They give the exit code.
#pragma once

#include <facet/client.hpp>

namespace facet::cli {

int show_models(client::Client& client, bool json);
int show_status(client::Client& client, bool json);

}  // namespace facet::cli
