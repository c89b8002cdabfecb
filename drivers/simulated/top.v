// The overlay as the harness sees it.
//
// A Verilated model computes everything that depends on an input afresh at each of a cycle's two
// evaluations, changed or not; of this overlay that is a sixth of all work. So the inputs are passed
// on only when `change` has another value than at the evaluation before.
//
// DESIGN and PARAMETERS are given on Verilator's command line.
module eyas_top (
    input aclk,
    input [7:0] change,
    input aresetn,
    input [31:0] s_axi_awaddr,
    input s_axi_awvalid,
    input [31:0] s_axi_wdata,
    input [3:0] s_axi_wstrb,
    input s_axi_wvalid,
    input s_axi_bready,
    input [31:0] s_axi_araddr,
    input s_axi_arvalid,
    input s_axi_rready,
    input m_axi_awready,
    input m_axi_wready,
    input m_axi_bid,
    input [1:0] m_axi_bresp,
    input m_axi_bvalid,
    input m_axi_arready,
    input m_axi_rid,
    input [63:0] m_axi_rdata,
    input [1:0] m_axi_rresp,
    input m_axi_rlast,
    input m_axi_rvalid,
    output interrupt_line,
    output s_axi_awready,
    output s_axi_wready,
    output [1:0] s_axi_bresp,
    output s_axi_bvalid,
    output s_axi_arready,
    output [31:0] s_axi_rdata,
    output [1:0] s_axi_rresp,
    output s_axi_rvalid,
    output m_axi_awid,
    output [31:0] m_axi_awaddr,
    output [7:0] m_axi_awlen,
    output [2:0] m_axi_awsize,
    output [1:0] m_axi_awburst,
    output m_axi_awvalid,
    output [63:0] m_axi_wdata,
    output [7:0] m_axi_wstrb,
    output m_axi_wlast,
    output m_axi_wvalid,
    output m_axi_bready,
    output m_axi_arid,
    output [31:0] m_axi_araddr,
    output [7:0] m_axi_arlen,
    output [2:0] m_axi_arsize,
    output [1:0] m_axi_arburst,
    output m_axi_arvalid,
    output m_axi_rready
);

    reg now_aresetn;
    reg [31:0] now_s_axi_awaddr;
    reg now_s_axi_awvalid;
    reg [31:0] now_s_axi_wdata;
    reg [3:0] now_s_axi_wstrb;
    reg now_s_axi_wvalid;
    reg now_s_axi_bready;
    reg [31:0] now_s_axi_araddr;
    reg now_s_axi_arvalid;
    reg now_s_axi_rready;
    reg now_m_axi_awready;
    reg now_m_axi_wready;
    reg now_m_axi_bid;
    reg [1:0] now_m_axi_bresp;
    reg now_m_axi_bvalid;
    reg now_m_axi_arready;
    reg now_m_axi_rid;
    reg [63:0] now_m_axi_rdata;
    reg [1:0] now_m_axi_rresp;
    reg now_m_axi_rlast;
    reg now_m_axi_rvalid;

    always @(change) begin
        now_aresetn = aresetn;
        now_s_axi_awaddr = s_axi_awaddr;
        now_s_axi_awvalid = s_axi_awvalid;
        now_s_axi_wdata = s_axi_wdata;
        now_s_axi_wstrb = s_axi_wstrb;
        now_s_axi_wvalid = s_axi_wvalid;
        now_s_axi_bready = s_axi_bready;
        now_s_axi_araddr = s_axi_araddr;
        now_s_axi_arvalid = s_axi_arvalid;
        now_s_axi_rready = s_axi_rready;
        now_m_axi_awready = m_axi_awready;
        now_m_axi_wready = m_axi_wready;
        now_m_axi_bid = m_axi_bid;
        now_m_axi_bresp = m_axi_bresp;
        now_m_axi_bvalid = m_axi_bvalid;
        now_m_axi_arready = m_axi_arready;
        now_m_axi_rid = m_axi_rid;
        now_m_axi_rdata = m_axi_rdata;
        now_m_axi_rresp = m_axi_rresp;
        now_m_axi_rlast = m_axi_rlast;
        now_m_axi_rvalid = m_axi_rvalid;
    end

    `DESIGN #(`PARAMETERS) overlay (
        .aclk(aclk),
        .interrupt(interrupt_line),
        .aresetn(now_aresetn),
        .s_axi_awaddr(now_s_axi_awaddr),
        .s_axi_awvalid(now_s_axi_awvalid),
        .s_axi_wdata(now_s_axi_wdata),
        .s_axi_wstrb(now_s_axi_wstrb),
        .s_axi_wvalid(now_s_axi_wvalid),
        .s_axi_bready(now_s_axi_bready),
        .s_axi_araddr(now_s_axi_araddr),
        .s_axi_arvalid(now_s_axi_arvalid),
        .s_axi_rready(now_s_axi_rready),
        .m_axi_awready(now_m_axi_awready),
        .m_axi_wready(now_m_axi_wready),
        .m_axi_bid(now_m_axi_bid),
        .m_axi_bresp(now_m_axi_bresp),
        .m_axi_bvalid(now_m_axi_bvalid),
        .m_axi_arready(now_m_axi_arready),
        .m_axi_rid(now_m_axi_rid),
        .m_axi_rdata(now_m_axi_rdata),
        .m_axi_rresp(now_m_axi_rresp),
        .m_axi_rlast(now_m_axi_rlast),
        .m_axi_rvalid(now_m_axi_rvalid),
        .s_axi_awready(s_axi_awready),
        .s_axi_wready(s_axi_wready),
        .s_axi_bresp(s_axi_bresp),
        .s_axi_bvalid(s_axi_bvalid),
        .s_axi_arready(s_axi_arready),
        .s_axi_rdata(s_axi_rdata),
        .s_axi_rresp(s_axi_rresp),
        .s_axi_rvalid(s_axi_rvalid),
        .m_axi_awid(m_axi_awid),
        .m_axi_awaddr(m_axi_awaddr),
        .m_axi_awlen(m_axi_awlen),
        .m_axi_awsize(m_axi_awsize),
        .m_axi_awburst(m_axi_awburst),
        .m_axi_awvalid(m_axi_awvalid),
        .m_axi_wdata(m_axi_wdata),
        .m_axi_wstrb(m_axi_wstrb),
        .m_axi_wlast(m_axi_wlast),
        .m_axi_wvalid(m_axi_wvalid),
        .m_axi_bready(m_axi_bready),
        .m_axi_arid(m_axi_arid),
        .m_axi_araddr(m_axi_araddr),
        .m_axi_arlen(m_axi_arlen),
        .m_axi_arsize(m_axi_arsize),
        .m_axi_arburst(m_axi_arburst),
        .m_axi_arvalid(m_axi_arvalid),
        .m_axi_rready(m_axi_rready)
    );
endmodule
