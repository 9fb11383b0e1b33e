// Packed copies of a program's weights: how they are made and found, that they change no bit, and that
// nothing else is ever taken for one.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "backends/onednn/device.h"
#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::cpu;
using facet::test::Batch;
using facet::test::Random;
using facet::test::Sketch;
using facet::test::Submit;

namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/facet-packing-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() {
    fs::permissions(path, fs::perms::owner_all);
    fs::remove_all(path);
  }
  std::string path;
  std::string copy() const { return path + "/weights.packed"; }
  std::string part() const { return copy() + ".part"; }
};

// A table that is also the output matrix, a stack of experts, and matrices that cannot be packed: of float16,
// and of 40 outputs.
struct Model {
  Sketch sketch;

  explicit Model(uint32_t seed = 5, uint32_t type = FACET_TYPE_Q4_0) {
    Random random(seed);
    const uint32_t table = sketch.weight(FACET_TYPE_Q6_K, {256, 48}, random);
    auto matmul = [&](uint32_t from, uint32_t weight, uint32_t width) {
      const uint32_t out = sketch.value(width);
      sketch.op(FACET_OP_MATMUL, {from}, {weight}, out);
      return out;
    };
    const uint32_t x = sketch.value(256);
    sketch.op(FACET_OP_EMBED, {}, {table}, x).p.embed.scale = 1;
    const uint32_t a = matmul(x, sketch.weight(type, {256, 256}, random), 256);
    const uint32_t b = matmul(a, sketch.weight(FACET_TYPE_F16, {256, 256}, random), 256);
    const uint32_t scores = matmul(b, sketch.weight(FACET_TYPE_F32, {256, 6}, random), 6);
    const uint32_t shares = sketch.value(6), y = sketch.value(256);
    sketch.op(FACET_OP_ROUTE, {scores}, {}, shares).p.route.used = 2;
    const uint32_t gates = sketch.weight(FACET_TYPE_Q4_0, {256, 32, 6}, random),
                   downs = sketch.weight(FACET_TYPE_Q8_0, {32, 256, 6}, random),
                   ups = sketch.weight(FACET_TYPE_Q4_0, {256, 32, 6}, random);
    sketch.op(FACET_OP_EXPERTS, {b, shares}, {gates, downs, ups}, y).p.experts.activation = FACET_GELU_TANH;
    const uint32_t odd = matmul(y, sketch.weight(FACET_TYPE_Q8_0, {256, 40}, random), 40);
    const uint32_t logits = matmul(y, table, 48), out = sketch.value(88);
    sketch.op(FACET_OP_CONCAT, {odd, logits}, {}, out);
    sketch.output("out", out);
  }
  plugin::Description description() { return plugin::Description(sketch.desc()); }
};

// A device with a program on it.
struct Loaded {
  Device device;
  std::unique_ptr<plugin::Program> program;

  explicit Loaded(Model& model, Isa isa = choose_isa(nullptr))
      : device(2, isa, plugin::Log()), program(device.create_program(model.description())) {}

  // Rows [first, first + rows) of a sequence of tokens; no row depends on others.
  std::vector<float> run(uint32_t rows, uint32_t first = 0) {
    auto context = program->create_context(std::max(rows, 16u), 0);
    Batch batch;
    for (uint32_t i = first; i < first + rows; ++i) {
      batch.rows.push_back({.token = static_cast<int32_t>(i * 7 % 48), .position = static_cast<int32_t>(i)});
    }
    batch.sequences = {{}};
    Submit submit(batch, nullptr);
    const auto last = static_cast<uint32_t>(program->cuts().size()) - 1;
    context->submit(1, plugin::Slice(submit.slice(0, last), 0), nullptr);
    CHECK(context->wait(1, -1) == FACET_OK);
    std::vector<float> out(rows * 88);
    context->output_read(0, 0, rows, out.data());
    return out;
  }
  // Steps until it is packed.
  int pack(const std::string& path) {
    int steps = 1;
    while (!program->pack(path)) REQUIRE(++steps < 100);
    return steps;
  }
  facet_status refused(const std::string& path) {
    try {
      while (!program->pack(path)) continue;
    } catch (const plugin::Failure& failure) {
      CHECK(failure.message().find(path) != std::string::npos);
      return failure.status();
    }
    return FACET_OK;
  }
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

bool packs() {
  return choose_isa(nullptr) != Isa::kPortable;
}

}  // namespace

TEST_CASE("a packed program gives the same bits, and so does the next one that finds its copy") {
  for (Isa isa : kIsas) {
    if (isa == Isa::kPortable || !isa_available(isa)) continue;
    CAPTURE(isa_name(isa));
    Folder folder;
    Model model;
    Loaded first(model, isa), second(model, isa);
    for (uint32_t rows : {1u, 3u, 16u}) {
      const std::vector<float> before = second.run(rows);
      if (rows == 1) {
        CHECK(first.pack(folder.copy()) > 1);
        CHECK(fs::file_size(folder.copy()) == first.program->packed_bytes());
        CHECK(!fs::exists(folder.part()));
        const std::vector<float> unpacked = second.run(rows);
        CHECK(unpacked == before);
      }
      CHECK(first.run(rows) == before);
    }
    const std::vector<float> before = second.run(5);
    CHECK(second.pack(folder.copy()) == 1);
    CHECK(second.run(5) == before);
    CHECK(second.program->pack(folder.copy()));  // again, to no effect
  }
}

TEST_CASE("rows of a run of three tiles have the bits that they have in short runs, packed or not") {
  constexpr uint32_t kRows = 520;
  static_assert(kRows > 2 * kMaxTileRows);
  Model model;
  for (Isa isa : kIsas) {
    if (!isa_available(isa)) continue;
    const std::vector<float> want = Loaded(model, isa).run(kRows);
    for (bool packed : {false, true}) {
      if (packed && isa == Isa::kPortable) continue;
      Folder folder;
      Loaded loaded(model, isa);
      if (packed) loaded.pack(folder.copy());
      CHECK(loaded.run(kRows) == want);
      for (uint32_t chunk : {1u, 8u, 64u}) {
        for (uint32_t row : {0u, 255u, 256u, 511u, 519u}) {
          CAPTURE(isa_name(isa));
          CAPTURE(packed);
          CAPTURE(chunk);
          CAPTURE(row);
          const uint32_t first = std::min(row, kRows - chunk);
          const auto begin = want.begin() + first * 88;
          CHECK(loaded.run(chunk, first) == std::vector<float>(begin, begin + chunk * 88));
        }
      }
    }
  }
}

TEST_CASE("plain code packs nothing") {
  Model model;
  Loaded plain(model, Isa::kPortable);
  CHECK(plain.program->packed_bytes() == 0);
  CHECK_THROWS_AS(plain.program->pack("/tmp/none"), plugin::Failure);
  CHECK_THROWS_AS(plain.program->verify_packed("/tmp/none"), plugin::Failure);
}

TEST_CASE("what is no copy of these weights is written anew") {
  if (!packs()) return;
  Folder folder;
  Model model, other(5, FACET_TYPE_Q4_1);
  Loaded made(model);
  made.pack(folder.copy());
  const std::string whole = contents(folder.copy());
  std::vector<std::string> wrong = {"", "x", whole.substr(0, whole.size() - 1), whole + "x",
                                    std::string(whole.size(), '\0')};
  for (size_t at : {size_t{5}, size_t{21}, size_t{24}, size_t{40}, size_t{100}}) {
    wrong.push_back(whole);
    wrong.back()[at] ^= 1;
  }
  for (const std::string& bytes : wrong) {
    fs::remove(folder.copy());  // it is mapped: its bytes may not change
    overwrite(folder.copy(), bytes);
    Loaded again(model);
    CHECK(again.pack(folder.copy()) > 1);
    CHECK(contents(folder.copy()) == whole);
  }
  Loaded another(other);
  CHECK(another.pack(folder.copy()) > 1);
  CHECK(contents(folder.copy()) != whole);

  fs::remove(folder.copy());
  fs::create_directory(folder.copy());
  Loaded blocked(model);
  CHECK(blocked.refused(folder.copy()) == FACET_IO);
}

TEST_CASE("a copy is verified by the hash of its content, which finding it does not read") {
  if (!packs()) return;
  Folder folder;
  Model model, other(5, FACET_TYPE_Q4_1);
  Loaded made(model);
  auto verdict = [&](const Loaded& loaded) {
    try {
      loaded.program->verify_packed(folder.copy());
    } catch (const plugin::Failure& failure) {
      CHECK(failure.message().find(folder.copy()) != std::string::npos);
      return failure.status();
    }
    return FACET_OK;
  };
  CHECK(verdict(made) == FACET_NOT_FOUND);
  made.pack(folder.copy());
  CHECK(verdict(made) == FACET_OK);
  CHECK(verdict(Loaded(model)) == FACET_OK);
  CHECK(verdict(Loaded(other)) == FACET_NOT_FOUND);

  const std::string whole = contents(folder.copy());
  for (size_t from_end : {1, 1000, 10000}) {
    CAPTURE(from_end);
    std::string flipped = whole;
    flipped[flipped.size() - from_end] ^= 1;
    fs::remove(folder.copy());  // it is mapped: its bytes may not change
    overwrite(folder.copy(), flipped);
    fs::permissions(folder.copy(), fs::perms::group_write | fs::perms::others_write,
                    fs::perm_options::remove);
    Loaded again(model);
    CHECK(again.program->pack(folder.copy()));
    CHECK(verdict(again) == FACET_MALFORMED);
  }
}

TEST_CASE("a copy that is not finished leaves nothing behind, and one that a crash left is written over") {
  if (!packs()) return;
  Folder folder;
  Model model;
  {
    Loaded begun(model);
    CHECK(!begun.program->pack(folder.copy()));  // looks
    CHECK(!fs::exists(folder.part()));
    CHECK(!begun.program->pack(folder.copy()));  // begins
    CHECK(fs::exists(folder.part()));
  }
  CHECK(fs::is_empty(folder.path));
  overwrite(folder.part(), "left by a crash");
  Loaded made(model);
  made.pack(folder.copy());
  CHECK(!fs::exists(folder.part()));
}

TEST_CASE("one process writes a copy at a time, and the others find it") {
  if (!packs()) return;
  Folder folder;
  Model model;
  Loaded first(model), second(model);
  CHECK(!first.program->pack(folder.copy()));
  CHECK(!first.program->pack(folder.copy()));
  CHECK(second.refused(folder.copy()) == FACET_EXHAUSTED);
  CHECK(second.run(2) == first.run(2));
  first.pack(folder.copy());
  CHECK(second.program->pack(folder.copy()));
}

TEST_CASE("a file that was put in the place of one that is being written is not taken for whole") {
  if (!packs()) return;
  Folder folder;
  Model model;
  Loaded first(model), second(model);
  CHECK(!first.program->pack(folder.copy()));
  CHECK(!first.program->pack(folder.copy()));
  fs::remove(folder.part());  // as anyone may
  CHECK(!second.program->pack(folder.copy()));
  CHECK(!second.program->pack(folder.copy()));
  CHECK(first.refused(folder.copy()) == FACET_IO);
  CHECK(fs::exists(folder.part()));  // the second's
  CHECK(!fs::exists(folder.copy()));
  // Not under the copy's name either, before it is whole.
  fs::rename(folder.part(), folder.copy());
  Loaded third(model);
  CHECK(third.pack(folder.copy()) > 1);
  CHECK(third.run(2) == first.run(2));
}

TEST_CASE("a copy that others may write is not mapped") {
  if (!packs()) return;
  Folder folder;
  Model model;
  Loaded first(model), second(model);
  first.pack(folder.copy());
  fs::permissions(folder.copy(), fs::perms::others_write, fs::perm_options::add);
  CHECK(second.refused(folder.copy()) == FACET_IO);
  fs::permissions(folder.copy(), fs::perms::others_write, fs::perm_options::remove);
  CHECK(second.program->pack(folder.copy()));
}

TEST_CASE("where nothing can be written the program goes on as before") {
  if (!packs()) return;
  Folder folder;
  Model model;
  Loaded program(model);
  const std::vector<float> before = program.run(3);
  CHECK(program.refused(folder.path + "/none/weights.packed") == FACET_IO);
  CHECK(program.run(3) == before);
  const std::string fifo = folder.path + "/fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(program.refused(fifo) == FACET_IO);  // and is not replaced
  CHECK(fs::is_fifo(fifo));
  // A link is not followed: what it names is not this folder's.
  overwrite(folder.path + "/precious", "precious");
  fs::create_symlink(folder.path + "/precious", folder.part());
  CHECK(program.refused(folder.copy()) == FACET_IO);
  CHECK(contents(folder.path + "/precious") == "precious");
  CHECK(program.run(3) == before);
}
