// The memory at the overlay's AXI4 master, and the rules of that bus.
//
// Dram answers bursts in the order they were asked for, with a settable latency and bandwidth. It
// is called twice a clock cycle: sample() before the rising edge sees what is transferred and
// decides what to offer next; drive() after the edge puts the offer on the overlay's inputs.
#pragma once

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "Vtop.h"

constexpr unsigned OKAY = 0, SLVERR = 2, DECERR = 3;

// Keeps the first error, with the cycle it was seen in; the simulation stops there.
class Failure {
  public:
    explicit operator bool() const { return !m_text.empty(); }
    const char* text() const { return m_text.c_str(); }
    void clear() { m_text.clear(); }
    void set(const std::string& text, uint64_t cycle) {
        if (m_text.empty()) m_text = text + " (cycle " + std::to_string(cycle) + ")";
    }

  private:
    std::string m_text;
};

inline std::string hex(uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%" PRIx64, value);
    return text;
}

// The rules of one channel that the overlay drives: VALID, once high, waits for READY, and what it
// carries stays the same.
class ChannelChecker {
  public:
    explicit ChannelChecker(const char* name) : m_name(name) {}
    bool waiting() const { return m_waiting; }
    void reset() { m_waiting = false; }

    void check(bool valid, bool ready, uint64_t payload, uint64_t more, Failure& failure,
               uint64_t cycle) {
        if (m_waiting && !valid) {
            failure.set(m_name + " was withdrawn before it was taken", cycle);
        } else if (m_waiting && (payload != m_payload || more != m_more)) {
            failure.set(m_name + " changed while it waited to be taken", cycle);
        }
        m_waiting = valid && !ready;
        m_payload = payload;
        m_more = more;
    }

  private:
    std::string m_name;
    bool m_waiting = false;
    uint64_t m_payload = 0, m_more = 0;
};

class Dram {
  public:
    // Cycles from an address to the first beat, and from the last written beat to its response; at
    // least 1. Beats move at numerator/denominator a cycle, reads and writes together, on top of
    // the bus's own limit of one a cycle each way. denominator 0: no limit but the bus's.
    struct Timing {
        uint64_t read_latency = 1, write_latency = 1, numerator = 0, denominator = 0;
        uint64_t outstanding = 8;
    };

    Timing timing;
    uint64_t read_beats = 0, write_beats = 0;

    Dram(uint8_t* bytes, uint64_t base, uint64_t size, Failure& failure)
        : m_bytes(bytes), m_base(base), m_size(size), m_failure(failure) {}

    void add_fault(bool write, uint64_t first, uint64_t last, unsigned response) {
        m_faults.push_back({write, first, last, response});
    }
    void clear_faults() { m_faults.clear(); }

    // Forgets every burst under way and takes back what stands on the bus.
    void reset(Vtop& top) {
        m_reads.clear();
        m_writes.clear();
        m_responses.clear();
        for (ChannelChecker* checker : {&m_read_address, &m_write_address, &m_write_data}) {
            checker->reset();
        }
        m_arready = m_awready = true;
        m_rvalid = m_bvalid = m_wready = false;
        m_idle = false;
        put(top);
    }

    void sample(const Vtop& top, uint64_t cycle) {
        const bool calls = top.m_axi_arvalid | top.m_axi_awvalid | top.m_axi_wvalid;
        m_changed = calls || !m_idle;
        if (!m_changed) return;
        check(top, cycle);
        take_read(top, cycle);
        take_write(top, cycle);
        offer(cycle + 1);
    }

    void drive(Vtop& top) const {
        if (m_changed) put(top);
    }

    // Puts the offer on the overlay's inputs, whether or not it is a new one.
    void put(Vtop& top) const {
        ++top.change;
        top.m_axi_arready = m_arready;
        top.m_axi_awready = m_awready;
        top.m_axi_wready = m_wready;
        top.m_axi_rvalid = m_rvalid;
        top.m_axi_rdata = m_beat.data;
        top.m_axi_rresp = m_beat.response;
        top.m_axi_rlast = m_beat.last;
        top.m_axi_rid = m_beat.id;
        top.m_axi_bvalid = m_bvalid;
        if (m_bvalid) {
            top.m_axi_bresp = m_responses.front().response;
            top.m_axi_bid = m_responses.front().id;
        }
    }

  private:
    struct Burst {
        uint64_t address;
        unsigned beats, id;
        uint64_t due;  // reads: first cycle with a beat
        unsigned taken = 0, response = OKAY;
    };
    struct Beat {
        uint64_t data = 0;
        unsigned response = OKAY, id = 0;
        bool last = false;
    };
    struct Response {
        unsigned id, response;
        uint64_t due;
    };
    struct Fault {
        bool write;
        uint64_t first, last;
        unsigned response;
    };

    bool inside(uint64_t address) const { return address - m_base < m_size; }
    uint8_t* at(uint64_t address) const { return m_bytes + (address - m_base); }

    unsigned response(bool write, uint64_t address) const {
        if (!inside(address)) return DECERR;
        for (const Fault& fault : m_faults) {
            if (fault.write == write && address + 7 >= fault.first && address <= fault.last) {
                return fault.response;
            }
        }
        return OKAY;
    }

    void check(const Vtop& top, uint64_t cycle) {
        const auto payload = [](uint64_t address, uint64_t id, uint64_t len, uint64_t size,
                                uint64_t burst) {
            return address | id << 32 | len << 33 | size << 41 | burst << 44;
        };
        m_read_address.check(top.m_axi_arvalid, m_arready,
                             payload(top.m_axi_araddr, top.m_axi_arid, top.m_axi_arlen,
                                     top.m_axi_arsize, top.m_axi_arburst),
                             0, m_failure, cycle);
        m_write_address.check(top.m_axi_awvalid, m_awready,
                              payload(top.m_axi_awaddr, top.m_axi_awid, top.m_axi_awlen,
                                      top.m_axi_awsize, top.m_axi_awburst),
                              0, m_failure, cycle);
        m_write_data.check(top.m_axi_wvalid, m_wready, top.m_axi_wdata,
                           top.m_axi_wstrb | top.m_axi_wlast << 8, m_failure, cycle);
        if (top.m_axi_arvalid) {
            check_burst("A read", top.m_axi_araddr, top.m_axi_arlen + 1, top.m_axi_arsize,
                        top.m_axi_arburst, cycle);
        }
        if (top.m_axi_awvalid) {
            check_burst("A write", top.m_axi_awaddr, top.m_axi_awlen + 1, top.m_axi_awsize,
                        top.m_axi_awburst, cycle);
        }
    }

    void check_burst(const char* kind, uint64_t address, unsigned beats, unsigned size,
                     unsigned burst, uint64_t cycle) {
        const std::string what = std::string(kind) + " burst at " + hex(address);
        if (beats > 16) {
            m_failure.set(what + " has " + std::to_string(beats) + " beats, more than 16", cycle);
        } else if (size != 3 || burst != 1) {
            m_failure.set(what + " is not an incrementing one of 8-byte beats", cycle);
        } else if (address % 8) {
            m_failure.set(what + " does not start on a multiple of 8", cycle);
        } else if (address % 4096 + 8 * beats > 4096) {
            m_failure.set(what + " crosses a boundary of 4 KiB", cycle);
        }
    }

    void take_read(const Vtop& top, uint64_t cycle) {
        if (m_rvalid && top.m_axi_rready) {
            m_rvalid = false;
            ++read_beats;
            if (++m_reads.front().taken == m_reads.front().beats) m_reads.pop_front();
        }
        if (m_arready && top.m_axi_arvalid) {
            m_reads.push_back({top.m_axi_araddr, top.m_axi_arlen + 1u, top.m_axi_arid,
                               cycle + timing.read_latency});
        }
    }

    void take_write(const Vtop& top, uint64_t cycle) {
        if (m_bvalid && top.m_axi_bready) {
            m_bvalid = false;
            m_responses.pop_front();
        }
        if (m_wready && top.m_axi_wvalid) take_beat(top, cycle);
        if (m_awready && top.m_axi_awvalid) {
            m_writes.push_back({top.m_axi_awaddr, top.m_axi_awlen + 1u, top.m_axi_awid, 0});
        }
    }

    void take_beat(const Vtop& top, uint64_t cycle) {
        Burst& burst = m_writes.front();
        const uint64_t address = burst.address + 8 * burst.taken;
        const unsigned answer = response(true, address);
        burst.response = std::max(burst.response, answer);
        for (unsigned lane = 0; answer == OKAY && lane < 8; ++lane) {
            if (top.m_axi_wstrb >> lane & 1) at(address)[lane] = top.m_axi_wdata >> 8 * lane;
        }
        ++write_beats;
        spend();
        const bool last = ++burst.taken == burst.beats;
        if (last != bool(top.m_axi_wlast)) {
            m_failure.set("WLAST is " + std::to_string(top.m_axi_wlast) + " on beat " +
                              std::to_string(burst.taken) + " of " + std::to_string(burst.beats) +
                              " of the write burst at " + hex(burst.address),
                          cycle);
        }
        if (last) {
            m_responses.push_back({burst.id, burst.response, cycle + timing.write_latency});
            m_writes.pop_front();
        }
    }

    // Decides what stands on the bus in cycle `next`.
    void offer(uint64_t next) {
        earn(next);
        const bool write_open = !m_writes.empty();
        const bool read_due = !m_rvalid && !m_reads.empty() && m_reads.front().due <= next;
        bool read_now = read_due && can_spend(1), write_now = write_open && can_spend(1);
        if (read_now && write_now && !can_spend(2)) {
            // One beat's bandwidth is left: reads and writes have it in turn.
            (m_reads_turn ? write_now : read_now) = false;
            m_reads_turn = !m_reads_turn;
        }
        m_wready = write_now;
        if (read_now) {
            fetch();
            m_rvalid = true;
            spend();
        }
        m_bvalid = !m_responses.empty() && m_responses.front().due <= next;
        m_arready = m_reads.size() < timing.outstanding;
        m_awready = m_writes.size() + m_responses.size() < timing.outstanding;
        m_idle = m_reads.empty() && m_writes.empty() && m_responses.empty() &&
                 !m_write_data.waiting();
    }

    void fetch() {
        const Burst& burst = m_reads.front();
        const uint64_t address = burst.address + 8 * burst.taken;
        m_beat = {0, response(false, address), burst.id, burst.taken + 1 == burst.beats};
        if (m_beat.response == OKAY) std::memcpy(&m_beat.data, at(address), 8);
    }

    // Bandwidth is a balance in 1/denominator of a beat; an idle memory saves up to two beats.
    void earn(uint64_t next) {
        const uint64_t most = 2 * timing.denominator + timing.numerator;
        m_balance = std::min(most, m_balance + (next - m_earned_at) * timing.numerator);
        m_earned_at = next;
    }
    bool can_spend(uint64_t beats) const { return m_balance >= beats * timing.denominator; }
    void spend() { m_balance -= timing.denominator; }

    uint8_t* m_bytes;
    uint64_t m_base, m_size;
    Failure& m_failure;
    std::deque<Burst> m_reads, m_writes;
    std::deque<Response> m_responses;
    std::vector<Fault> m_faults;
    Beat m_beat;
    ChannelChecker m_read_address{"The read address"}, m_write_address{"The write address"},
        m_write_data{"The write data"};
    bool m_arready = false, m_awready = false, m_wready = false, m_rvalid = false, m_bvalid = false;
    bool m_idle = false, m_changed = true, m_reads_turn = true;
    uint64_t m_balance = 0, m_earned_at = 0;
};
