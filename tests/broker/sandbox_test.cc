// The sandbox that a process is in, from what the kernel shows of it.
#include "daemon/broker/sandbox.h"

#include <doctest/doctest.h>

using namespace facet::broker;

namespace {

const std::string kOurs = "Name:\tapp\nNSpid:\t812\nThreads:\t1\n";
const std::string kNested = "Name:\tapp\nNSpid:\t812\t7\nThreads:\t1\n";

std::string by_label(const std::string& label, const std::string& status = kOurs) {
  return sandbox_of({label, true, {}, {}, status});
}
std::string by_info(const std::string& info) {
  return sandbox_of({{}, true, info, {}, kNested});
}
std::string by_cgroup(const std::string& cgroup, const std::string& status = kNested) {
  return sandbox_of({{}, false, {}, cgroup, status});
}
std::string by_scope(const std::string& scope) {
  return by_cgroup("0::/user.slice/user-1000.slice/user@1000.service/app.slice/" + scope + "\n");
}
std::string by_status(const std::string& status) {
  return sandbox_of({{}, true, {}, "0::/user.slice/session-1.scope\n", status});
}

}  // namespace

TEST_CASE("sandbox: a snap by its label, whatever else is seen") {
  CHECK(by_label("snap.firefox.firefox (enforce)") == "snap:firefox");
  CHECK(by_label("snap.fire-fox_2.geckodriver") == "snap:fire-fox_2");
  CHECK(by_label("snap.hello.hook.configure (complain)\n") == "snap:hello");
  CHECK(sandbox_of({"snap.a.b (enforce)", true, "[Application]\nname=org.x.Y\n", {}, kOurs}) == "snap:a");
  CHECK(by_label("unconfined\n") == "");
  CHECK(by_label("/usr/bin/snap.evil.x (enforce)") == "");
  CHECK(by_label("") == "");
}

TEST_CASE("sandbox: a label that begins as a snap's and is none is never taken for none") {
  for (const std::string label : {"snap.", "snap..", "snap.firefox", "snap.firefox.", "snap.Fire.x",
                                  "snap._1.x", "snap.a b.c", "snap.a\n.c", "snap.a/../b.c"}) {
    CHECK_MESSAGE(by_label(label) == "unknown", label);
  }
  CHECK(by_label("snap." + std::string(kMaxSandboxBytes, 'a') + ".b") == "unknown");
  CHECK(by_label(std::string("snap.a\0b.c", 10)) == "unknown");
}

TEST_CASE("sandbox: a flatpak by the file in its root") {
  CHECK(by_info(
            "[Application]\nname=org.example.App\nruntime=r/x/1\n\n[Instance]\nname=no\ninstance-id=12\n") ==
        "flatpak:org.example.App");
  CHECK(by_info("[Runtime]\nname=org.gnome.Platform\n") == "flatpak:org.gnome.Platform");
  CHECK(by_info("[Application]\nname=a.b-c_D.9") == "flatpak:a.b-c_D.9");
  // Its control group says nothing more: where the root is seen, the root decides.
  CHECK(sandbox_of({{}, true, "[Application]\nname=a.b\n", "0::/app-flatpak-c.d-1.scope\n", kNested}) ==
        "flatpak:a.b");
  CHECK(sandbox_of({{}, true, {}, "0::/app-flatpak-c.d-1.scope\n", kOurs}) == "");
}

TEST_CASE("sandbox: a flatpak's file that does not name one is an unknown sandbox") {
  for (const std::string info :
       {"", "\n", "name=a.b", "[Application]", "[Application]\n",
        "[Application]\nname=", "[Application]\nname=plain", "[Application]\nname=.a.b",
        "[Application]\nname= a.b", "[Application]\nname=a.b \n", "[Application]\nname=a.b\nname=c.d\n",
        "[Application]\nname=a.b\n[Runtime]\nname=c.d\n", " [Application]\nname=a.b",
        "[Application] \nname=a.b", "[Other]\nname=a.b\n", "[Application]\nnames=a.b",
        "[Application]\nname=a.b\r\n", "[Application]\nname=../a.b", "[Application]\nname=\xff.b"}) {
    CHECK_MESSAGE(by_info(info) == "unknown", info);
  }
  CHECK(by_info("[Application]\nname=a." + std::string(kMaxSandboxBytes, 'b')) == "unknown");
  CHECK(by_info(std::string("[Application]\nname=a.b\0c", 24)) == "unknown");
  CHECK(by_info(std::string(kMaxTraceBytes, '[')) == "unknown");
}

TEST_CASE("sandbox: a flatpak by its scope, where its root may not be looked into") {
  CHECK(by_scope("app-flatpak-org.example.App-1234.scope") == "flatpak:org.example.App");
  CHECK(by_scope("flatpak-org.example.App-1234.scope") == "flatpak:org.example.App");
  CHECK(by_scope("app-flatpak-org.a\\x2db.App-1234.scope") == "flatpak:org.a-b.App");
  CHECK(by_scope("app-flatpak-org.a-b.App-1234.scope") == "flatpak:org.a-b.App");
  CHECK(by_cgroup(
            "5:devices:/app-flatpak-x.y-1.scope\n1:name=systemd:/u/app-flatpak-a.b-1.scope/sub\n0::/\n") ==
        "flatpak:a.b");
  CHECK(by_cgroup("0::/../../app.slice/app-flatpak-a.b-1.scope") == "flatpak:a.b");
  // Whatever is below the outermost one.
  CHECK(by_scope("app-flatpak-a.b-1.scope/app-flatpak-c.d-2.scope") == "flatpak:a.b");
  CHECK(by_scope("app-flatpak-a.b-1.scope") == "flatpak:a.b");
}

TEST_CASE("sandbox: a scope that names no flatpak is none, or unknown where it begins as one") {
  for (const std::string scope :
       {"app-flatpak-.scope", "app-flatpak-a.b.scope", "app-flatpak--1.scope", "app-flatpak-a.b\\x2-1.scope",
        "app-flatpak-a.b\\y2d-1.scope", "app-flatpak-a.b\\x2D-1.scope", "app-flatpak-a.b\\x0a-1.scope",
        "app-flatpak-a\\x2fb.c-1.scope", "app-flatpak-a.b\\-1.scope"}) {
    CHECK_MESSAGE(by_scope(scope) == "unknown", scope);
  }
  CHECK(by_cgroup("1:name=systemd:/app-flatpak-a.b-1.scope\n0::/app-flatpak-c.d-1.scope\n", kOurs) ==
        "unknown");
  for (const std::string cgroup : {"", "\n", "0", "0:", "0::", "0::/", "::", "0::/app-flatpak-a.b-1.service",
                                   "0::/x-app-flatpak-a.b-1.scope", "0:cpu:/app-flatpak-a.b-1.scope",
                                   "0::/app-gnome-org.gnome.Maps-1.scope", "/app-flatpak-a.b-1.scope"}) {
    CHECK_MESSAGE(by_cgroup(cgroup, kOurs) == "", cgroup);
    CHECK_MESSAGE(by_cgroup(cgroup, kNested) == "unknown", cgroup);
  }
}

TEST_CASE("sandbox: none only where the status says that there is no pid namespace of its own") {
  CHECK(by_status(kOurs) == "");
  CHECK(by_status("NSpid: 812") == "");
  for (const std::string status :
       {"", "Name:\tapp\n", "NSpid:", "NSpid:\t\n", "NSpid:\tx\n", "NSpid:\t812\t7\n", "NSpid:\t8 1\n",
        " NSpid:\t812\n", "Name:\tx\\nNSpid:\t1\n"}) {
    CHECK_MESSAGE(by_status(status) == "unknown", status);
  }
  CHECK(sandbox_of({}) == "unknown");
  CHECK(sandbox_of({"unconfined", true, {}, "0::/\n", {}}) == "unknown");
}

TEST_CASE("sandbox: names that there are") {
  for (const char* name : {"unknown", "flatpak:org.x.Y", "snap:firefox"}) CHECK(is_sandbox(name));
  for (const char* name :
       {"", "none", "flatpak:", "flatpak:x", "snap:", "snap:A", "docker:x", "Unknown", " unknown"}) {
    CHECK_MESSAGE(!is_sandbox(name), name);
  }
}
