// A Verilated overlay as a board: the C interface that drivers/simulated/model.py calls.
//
// The overlay has the ports aclk, aresetn, s_axi_* (AXI4-Lite, 32 bit), m_axi_* (AXI4, 64 bit,
// 1-bit IDs) and interrupt; registers and memory are served here, cycle by cycle, so that Python is
// called once an access or a wait. A call that ends in an error leaves it in board_error().
#include <memory>

#include "dram.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Waveform = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Waveform = VerilatedVcdC;
#endif

namespace {

constexpr int RESET_CYCLES = 16;
constexpr int ANSWER_CYCLES = 1000;  // a register access takes a handful

class Board {
  public:
    Failure failure;
    Dram dram;
    uint64_t cycles = 0;
    bool lose_interrupts = false;

    Board(uint8_t* bytes, uint64_t base, uint64_t size) : dram(bytes, base, size, failure) {
#if VM_TRACE
        m_top.trace(&m_trace, 99);
#endif
    }

    ~Board() {
#if VM_TRACE
        if (m_trace.isOpen()) m_trace.close();
#endif
        m_top.final();
    }

    void reset() {
        failure.clear();
        m_top.aresetn = 0;
        m_top.s_axi_awvalid = m_top.s_axi_wvalid = m_top.s_axi_bready = 0;
        m_top.s_axi_arvalid = m_top.s_axi_rready = 0;
        dram.reset(m_top);
        for (int i = 0; i < RESET_CYCLES; ++i) {
            evaluate(0);
            evaluate(1);
            ++cycles;
        }
        if (m_top.m_axi_arvalid | m_top.m_axi_awvalid | m_top.m_axi_wvalid) {
            failure.set("A VALID of the AXI master is high in reset", cycles);
        }
        if (m_top.s_axi_bvalid | m_top.s_axi_rvalid) {
            failure.set("A response of the AXI4-Lite slave is valid in reset", cycles);
        }
        m_top.aresetn = 1;
        ++m_top.change;
    }

    // Returns the response, -1 after a failure.
    int write_register(uint32_t offset, uint32_t value) {
        if (m_top.s_axi_bvalid) failure.set("A write response came without a write", cycles);
        m_top.s_axi_awaddr = offset;
        m_top.s_axi_wdata = value;
        m_top.s_axi_wstrb = 0xF;
        m_top.s_axi_awvalid = m_top.s_axi_wvalid = m_top.s_axi_bready = 1;
        ++m_top.change;
        for (int i = 0; i < ANSWER_CYCLES && !failure; ++i) {
            settle();
            const bool pending = m_top.s_axi_awvalid || m_top.s_axi_wvalid;
            const bool address_taken = m_top.s_axi_awready, data_taken = m_top.s_axi_wready;
            const bool answered = m_top.s_axi_bvalid;
            const int response = m_top.s_axi_bresp;
            edge();
            if (address_taken) m_top.s_axi_awvalid = 0;
            if (data_taken) m_top.s_axi_wvalid = 0;
            if (answered) m_top.s_axi_bready = 0;
            ++m_top.change;
            if (answered && pending) {
                failure.set("A write response came before the write was taken", cycles);
            } else if (answered) {
                return failure ? -1 : response;
            }
        }
        failure.set("The write of register " + hex(offset) + " was not answered in " +
                        std::to_string(ANSWER_CYCLES) + " cycles", cycles);
        return -1;
    }

    int read_register(uint32_t offset, uint32_t* value) {
        if (m_top.s_axi_rvalid) failure.set("Read data came without a read", cycles);
        m_top.s_axi_araddr = offset;
        m_top.s_axi_arvalid = m_top.s_axi_rready = 1;
        ++m_top.change;
        for (int i = 0; i < ANSWER_CYCLES && !failure; ++i) {
            settle();
            const bool pending = m_top.s_axi_arvalid, taken = m_top.s_axi_arready;
            const bool answered = m_top.s_axi_rvalid;
            const int response = m_top.s_axi_rresp;
            *value = m_top.s_axi_rdata;
            edge();
            if (taken) m_top.s_axi_arvalid = 0;
            if (answered) m_top.s_axi_rready = 0;
            ++m_top.change;
            if (answered && pending) {
                failure.set("Read data came before the read was taken", cycles);
            } else if (answered) {
                return failure ? -1 : response;
            }
        }
        failure.set("The read of register " + hex(offset) + " was not answered in " +
                        std::to_string(ANSWER_CYCLES) + " cycles", cycles);
        return -1;
    }

    bool interrupt() const { return m_top.interrupt_line && !lose_interrupts; }

    // Runs `most` cycles, or fewer when the interrupt line is awaited and goes high.
    void run(uint64_t most, bool until_interrupt) {
        for (uint64_t i = 0; i < most && !failure; ++i) {
            if (until_interrupt && interrupt()) return;
            settle();
            edge();
        }
    }

    // The clock and nothing else: what the model itself costs. The memory offers nothing meanwhile.
    void run_bare(uint64_t count) {
        Vtop& top = m_top;
        top.m_axi_arready = top.m_axi_awready = top.m_axi_wready = 0;
        top.m_axi_rvalid = top.m_axi_bvalid = 0;
        for (uint64_t i = 0; i < count; ++i) {
            top.aclk = 0;
            top.eval();
            top.aclk = 1;
            top.eval();
        }
        cycles += count;
        dram.put(top);
    }

    bool trace(const char* path) {
#if VM_TRACE
        if (m_trace.isOpen()) m_trace.close();
        m_trace.open(path);
        return m_trace.isOpen();
#else
        (void)path;
        return false;
#endif
    }

  private:
    // Inputs were set after the last edge; with the clock low everything combinational follows.
    void settle() {
        evaluate(0);
        dram.sample(m_top, cycles);
    }

    void edge() {
        evaluate(1);
        dram.drive(m_top);
        ++cycles;
    }

    void evaluate(int clock) {
        m_top.aclk = clock;
        m_top.eval();
#if VM_TRACE
        if (m_trace.isOpen()) m_trace.dump(10000 * cycles + 5000 * clock);  // a 10 ns clock in ps
#endif
    }

    std::unique_ptr<VerilatedContext> m_context = make_context();
    Vtop m_top{m_context.get()};
#if VM_TRACE
    Waveform m_trace;
#endif

    std::unique_ptr<VerilatedContext> make_context() {
        auto context = std::make_unique<VerilatedContext>();
#if VM_TRACE
        context->traceEverOn(true);
#endif
        return context;
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Board* board_create(uint8_t* bytes, uint64_t base, uint64_t size) {
    auto* board = new Board(bytes, base, size);
    board->reset();
    return board;
}

API void board_destroy(Board* board) { delete board; }

API void board_reset(Board* board) { board->reset(); }

// The first error since the last reset, or an empty string.
API const char* board_error(Board* board) { return board->failure.text(); }

API void board_set_timing(Board* board, uint64_t read_latency, uint64_t write_latency,
                          uint64_t numerator, uint64_t denominator, uint64_t outstanding) {
    board->dram.timing = {read_latency, write_latency, numerator, denominator, outstanding};
}

API int board_write_register(Board* board, uint32_t offset, uint32_t value) {
    return board->write_register(offset, value);
}

API int board_read_register(Board* board, uint32_t offset, uint32_t* value) {
    return board->read_register(offset, value);
}

API int board_interrupt(Board* board) { return board->interrupt(); }

API void board_run(Board* board, uint64_t most, int until_interrupt) {
    board->run(most, until_interrupt);
}

API void board_run_bare(Board* board, uint64_t count) { board->run_bare(count); }

API void board_counters(Board* board, uint64_t counters[3]) {
    counters[0] = board->cycles;
    counters[1] = board->dram.read_beats;
    counters[2] = board->dram.write_beats;
}

API void board_add_fault(Board* board, int write, uint64_t first, uint64_t last,
                         unsigned response) {
    board->dram.add_fault(write, first, last, response);
}

API void board_clear_faults(Board* board) { board->dram.clear_faults(); }

API void board_lose_interrupts(Board* board, int lose) { board->lose_interrupts = lose; }

API int board_trace(Board* board, const char* path) { return board->trace(path); }
