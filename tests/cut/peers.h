// CutClient and CutUpstream: raw peers that play a conversation and are cut short in it: after so many bytes of their own, or by an event.
// A bench owns them; they are dropped before its network. What came is kept for judge.h.
// They never decide whether anything is right.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/cut/conversations.h"
#include "tests/cut/wire.h"
#include "tests/support/sim_peers.h"

namespace weir::test {

enum class Side : unsigned char { none, client, upstream };
enum class Act : unsigned char {
  fin,           // sends no more, reads on
  reset,         // RST
  close,         // closes at once
  close_unread,  // stops reading, and closes a while later over what came
  stall,         // neither sends nor reads any more, for ever
  split,         // waits a millisecond and goes on: nothing may change
  trickle,       // sends each byte by itself: nothing may change
};
const char* name_of(Act act);
inline bool harmless(Act act) { return act == Act::split || act == Act::trickle; }

struct Cut {
  Side side = Side::none;
  Act act = Act::fin;
  std::size_t at = 0;  // after so many bytes of that side, over all of its connections
};

std::string described(const Conversation& conversation, const Cut& cut);

// Where one side is in its bytes.
struct CutPoint {
  Cut cut;
  bool armed = false;
  bool done = false;
  std::size_t said = 0;
};

class CutPeer : public RawPeer, public std::enable_shared_from_this<CutPeer> {
 public:
  CutPeer(CutPoint& point, SimLoop& loop) : point_(point), loop_(loop) {}
  void say(std::string_view text);
  void say_fin();      // after what was said
  void act(Act what);  // now
  bool mute() const { return mute_; }
  WireEnd end() const { return got_reset() ? WireEnd::reset : got_fin() ? WireEnd::fin : WireEnd::open; }
  std::size_t answered = 0;  // an upstream's: requests that a reply was begun for

 private:
  void pump();
  void after(Duration wait, void (CutPeer::*then)());
  void go_on();
  CutPoint& point_;
  SimLoop& loop_;
  std::string queue_;
  bool holding_ = false;
  bool mute_ = false;
  bool fin_wanted_ = false;
};

class CutClient final : public CutPeer {
 public:
  CutClient(const Conversation& conversation, CutPoint& point, SimLoop& loop);
  void connect(Connector& connector, const Address& to) { stream_ = connector.connect(to, *this); }
  const WireReading& answers() const;                                // read anew when something has come
  bool done() const { return next_ == conversation_.steps.size(); }  // has said all
  bool answered() const;  // has said all and got a whole answer to each request, or will hear no more

 private:
  void on_connected(int error) override;
  void on_bytes() override { step(); }
  void step();
  bool holds(const Step& step) const;
  const Conversation& conversation_;
  std::size_t next_ = 0;
  mutable WireReading reading_;
  mutable std::size_t read_bytes_ = 0;
  mutable WireEnd read_end_ = WireEnd::open;
};

class CutUpstream final : private AcceptHandler {
 public:
  CutUpstream(const Conversation& conversation, CutPoint& point, SimNet& net, SimLoop& loop, const Address& at);
  ~CutUpstream();
  void act(Act what);  // on all connections that are open
  void refuse();       // new connections, from now on
  bool open() const;   // a connection is
  std::vector<std::shared_ptr<CutPeer>> peers;
  std::map<std::string, std::size_t> tries;  // by target

 private:
  class Peer;
  void on_accept(std::unique_ptr<ByteStream> stream) override;
  void on_change(CutPeer& peer);
  void answer(CutPeer& peer, const WireMessage& request);
  const Reply* next_reply(const std::string& target) const;
  const Conversation& conversation_;
  CutPoint& point_;
  SimNet& net_;
  SimLoop& loop_;
  Address at_;
  bool listening_ = true;
};

}  // namespace weir::test
