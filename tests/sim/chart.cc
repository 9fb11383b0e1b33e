#include "tests/sim/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

namespace facet::sim {

namespace {

constexpr double kWidth = 760, kHeight = 400, kLeft = 64, kRight = 130, kTop = 44, kBottom = 52;
constexpr std::array<const char*, 6> kColours{"#0072b2", "#d55e00", "#009e73",
                                              "#cc79a7", "#e69f00", "#56b4e9"};

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

// 1, 2 or 5 times a power of ten, at least a fifth of `span`.
double round_step(double span) {
  const double power = std::pow(10, std::floor(std::log10(span / 5)));
  for (double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= span / 5) return factor * power;
  }
  return 10 * power;
}

// From the data to the paper.
class Frame {
 public:
  explicit Frame(const Chart& chart) : chart_(chart) {
    bool first = true;
    for (const Chart::Series& series : chart.series) {
      for (const auto& [x, y] : series.points) {
        low_ = first ? x : std::min(low_, x);
        high_ = first ? x : std::max(high_, x);
        first = false;
      }
    }
    if (chart.log_x) {
      low_ = std::pow(10, std::floor(std::log10(first ? 1 : low_)));
      high_ = std::pow(10, std::ceil(std::log10(first ? 10 : high_)));
    }
    if (high_ <= low_) high_ = chart.log_x ? low_ * 10 : low_ + 1;
  }

  double x(double value) const {
    const double part =
        chart_.log_x ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return kLeft + part * (kWidth - kLeft - kRight);
  }
  double y(double value) const {
    return kHeight - kBottom - value / chart_.y_max * (kHeight - kTop - kBottom);
  }

  std::vector<double> x_ticks() const {
    std::vector<double> ticks;
    if (chart_.log_x) {
      for (double at = low_; at <= high_ * 1.01; at *= 10) ticks.push_back(at);
      return ticks;
    }
    const double step = round_step(high_ - low_);
    for (double at = std::ceil(low_ / step) * step; at <= high_ + step / 1000; at += step)
      ticks.push_back(at);
    return ticks;
  }
  std::vector<double> y_ticks() const {
    std::vector<double> ticks;
    const double step = round_step(chart_.y_max);
    for (double at = 0; at <= chart_.y_max + step / 1000; at += step) ticks.push_back(at);
    return ticks;
  }

 private:
  const Chart& chart_;
  double low_ = 0, high_ = 1;
};

std::string text(double x, double y, const std::string& anchor, const std::string& content,
                 const std::string& more = "") {
  std::ostringstream out;
  out << "<text x='" << x << "' y='" << y << "' text-anchor='" << anchor << "' " << more << ">"
      << escaped(content) << "</text>\n";
  return out.str();
}

std::string line(double x1, double y1, double x2, double y2) {
  std::ostringstream out;
  out << "<line x1='" << x1 << "' y1='" << y1 << "' x2='" << x2 << "' y2='" << y2 << "' stroke='#ddd'/>\n";
  return out.str();
}

std::string number(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string axes(const Chart& chart, const Frame& frame) {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  std::string out;
  for (double at : frame.x_ticks()) {
    out +=
        line(frame.x(at), kTop, frame.x(at), bottom) + text(frame.x(at), bottom + 18, "middle", number(at));
  }
  for (double at : frame.y_ticks()) {
    out += line(kLeft, frame.y(at), right, frame.y(at)) + text(kLeft - 8, frame.y(at) + 4, "end", number(at));
  }
  out += text((kLeft + right) / 2, kHeight - 12, "middle", chart.x_label);
  const double middle = (kTop + bottom) / 2;
  out += text(16, middle, "middle", chart.y_label, "transform='rotate(-90 16 " + number(middle) + ")'");
  return out + text(kLeft, 24, "start", chart.title, "font-size='16' font-weight='bold'");
}

}  // namespace

std::string to_svg(const Chart& chart) {
  const Frame frame(chart);
  std::ostringstream out;
  out << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 " << kWidth << " " << kHeight
      << "' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n"
      << axes(chart, frame);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const char* colour = kColours[i % kColours.size()];
    out << "<polyline fill='none' stroke-width='2' stroke='" << colour << "' points='";
    for (const auto& [x, y] : chart.series[i].points) out << frame.x(x) << ',' << frame.y(y) << ' ';
    out << "'/>\n";
    const double y = kTop + 14 + 20 * static_cast<double>(i);
    out << "<rect x='" << kWidth - kRight + 12 << "' y='" << y - 9 << "' width='12' height='10' fill='"
        << colour << "'/>\n"
        << text(kWidth - kRight + 30, y, "start", chart.series[i].name);
  }
  out << "</svg>\n";
  return out.str();
}

}  // namespace facet::sim
