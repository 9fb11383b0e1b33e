// A line chart as an SVG document.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace facet::sim {

struct Chart {
  struct Series {
    std::string name;
    std::vector<std::pair<double, double>> points;  // by x
  };
  std::string title, x_label, y_label;
  std::vector<Series> series;  // at most 6
  double y_max = 1;            // the y axis begins at 0
  bool log_x = false;          // decades; every x is then greater than 0
};

std::string to_svg(const Chart& chart);

}  // namespace facet::sim
