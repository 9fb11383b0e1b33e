// Plots what each class gets of a busy device, and how long it waits:
//
//   plot FOLDER    writes FOLDER/share.svg and FOLDER/latency.svg; those of docs/scheduling.md: plot docs
//
// Eight background clients without a pause and, from second 20 to 60, eight standard ones; all through it
// four people who ask again 2 seconds after each answer. From second 40 to 50 sixteen more people who ask
// without a pause: the lower classes then have what is guaranteed to them.
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "tests/sim/chart.h"
#include "tests/sim/clients.h"

using namespace facet::sim;

namespace {

constexpr std::array<const char*, kClasses> kNames{"interactive", "standard", "background"};
constexpr double kSecond = 1e6, kEnd = 80 * kSecond;

// The parts of each half second that the classes had.
class ShareOfTime {
 public:
  ShareOfTime() : chart_{"Share of the device by class", "seconds", "share", {}} {
    for (const char* name : kNames) chart_.series.push_back({name, {}});
  }
  void look(const Simulator& simulator) {
    const double passed = simulator.now() - since_;
    if (passed < kSecond / 2) return;
    for (size_t c = 0; c < kClasses; ++c) {
      chart_.series[c].points.emplace_back((since_ + passed / 2) / kSecond,
                                           (simulator.busy(c) - busy_[c]) / passed);
      busy_[c] = simulator.busy(c);
    }
    since_ = simulator.now();
  }
  const Chart& chart() const { return chart_; }

 private:
  Chart chart_;
  double since_ = 0;
  std::array<double, kClasses> busy_{};
};

// How many of a class's requests had their first token by when.
Chart latency(const std::array<std::vector<double>, kClasses>& first_tokens) {
  Chart chart{"Time to the first token by class", "milliseconds", "part of the requests", {}, 1, true};
  for (size_t c = 0; c < kClasses; ++c) {
    std::vector<double> times = first_tokens[c];
    std::sort(times.begin(), times.end());
    Chart::Series series{kNames[c], {}};
    for (size_t i = 0; i < times.size(); ++i) {
      series.points.emplace_back(times[i] / 1000,
                                 static_cast<double>(i + 1) / static_cast<double>(times.size()));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

bool write(const std::string& path, const Chart& chart) {
  std::ofstream file(path);
  file << to_svg(chart);
  file.close();
  if (file) return true;
  std::fprintf(stderr, "plot: cannot write %s\n", path.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: plot FOLDER\n");
    return 2;
  }
  Clients clients;
  Simulator& simulator = clients.simulator;
  ShareOfTime share;
  std::array<std::vector<double>, kClasses> first_tokens;
  simulator.on_finish = [&, again = simulator.on_finish](const Request& request) {
    const Times& times = simulator.times(request.id);
    first_tokens[request.priority].push_back(times.first_token - times.arrival);
    const bool over = (request.priority == kStandard && simulator.now() > 60 * kSecond) ||
                      (request.owner.app == "rush" && simulator.now() > 50 * kSecond);
    if (!over) again(request);
  };
  auto run_until = [&](double time) {
    while (simulator.now() < time && simulator.step()) share.look(simulator);
  };
  for (uint64_t user = 0; user < 8; ++user) clients.add({{user, "batch"}, kBackground, 2000, 256}, 1);
  for (uint64_t user = 0; user < 4; ++user)
    clients.add({{user, "person"}, kInteractive, 64, 32, 2 * kSecond}, 1);
  run_until(20 * kSecond);
  for (uint64_t user = 0; user < 8; ++user) clients.add({{user, "app"}, kStandard, 500, 128}, 1);
  run_until(40 * kSecond);
  for (uint64_t user = 10; user < 26; ++user) clients.add({{user, "rush"}, kInteractive, 64, 32}, 1);
  run_until(kEnd);
  const std::string folder = argv[1];
  return write(folder + "/share.svg", share.chart()) && write(folder + "/latency.svg", latency(first_tokens))
             ? 0
             : 1;
}
