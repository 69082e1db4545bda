package import Kernel

/// What tokens cost, by the name of the model.
///
/// Prices are those that the administrator configured; a model without one has no cost, never a guessed one. All arithmetic
/// is exact: prices are micro-units of the currency for a million tokens.
package struct ModelPrices: Sendable, Hashable {
    package struct Price: Sendable, Hashable {
        /// Micro-units for a million tokens.
        package let input: Int64
        package let output: Int64

        package init(input: Int64, output: Int64) {
            self.input = max(input, 0)
            self.output = max(output, 0)
        }
    }

    package struct Cost: Sendable, Hashable, CustomStringConvertible {
        package let microUnits: Int64
        package let currency: String

        /// A decimal with six places: `0.000075`.
        package var description: String {
            let fraction = String(microUnits % 1_000_000)
            return "\(microUnits / 1_000_000)." + String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
        }
    }

    package struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
        package let description: String
    }

    package let currency: String
    private let prices: [String: Price]

    package init(_ prices: [String: Price] = [:], currency: String = "USD") {
        self.prices = prices
        self.currency = currency
    }

    /// Reads `{"gpt-4o-mini": {"input": "0.15", "output": "0.60"}}`: units of the currency for a million tokens, as
    /// decimals in text or as numbers, with at most six places.
    package init(_ json: JSON, currency: String = "USD") throws(Failure) {
        guard let models = json.object else { throw Failure(description: "prices must be an object of models") }
        var prices: [String: Price] = [:]
        for (model, value) in models {
            guard let input = Self.microUnits(value["input"]), let output = Self.microUnits(value["output"]),
                value.object?.count == 2
            else {
                throw Failure(
                    description: "the price of \(model) must have \"input\" and \"output\": decimals from 0 to "
                        + "1000000 with at most 6 places"
                )
            }
            prices[model] = Price(input: input, output: output)
        }
        self.init(prices, currency: currency)
    }

    /// The price of a model by its name; a dated version (`-2024-07-18`, `-20240718`) without a price of its own has
    /// that of the undated name.
    package func price(of model: String) -> Price? {
        if let price = prices[model] { return price }
        let bytes = Array(model.utf8)
        for form in ["-dddd-dd-dd", "-dddddddd"] where bytes.count > form.utf8.count {
            let matches = zip(bytes.suffix(form.utf8.count), form.utf8).allSatisfy { byte, sign in
                sign == UInt8(ascii: "d")
                    ? (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) : byte == sign
            }
            if matches {
                return prices[String(decoding: bytes.dropLast(form.utf8.count), as: UTF8.self)]
            }
        }
        return nil
    }

    /// The cost of an answer, rounded once, half a micro-unit up; nil when the price is unknown or the sum too large.
    package func cost(of usage: TokenUsage, model: String) -> Cost? {
        guard model != ExtractiveModel.modelName else { return Cost(microUnits: 0, currency: currency) }
        guard let price = price(of: model) else { return nil }
        let (input, inputOverflow) = max(usage.input, 0).multipliedReportingOverflow(by: price.input)
        let (output, outputOverflow) = max(usage.output, 0).multipliedReportingOverflow(by: price.output)
        let (sum, overflow) = input.addingReportingOverflow(output)
        let (rounded, roundOverflow) = sum.addingReportingOverflow(500_000)
        guard !inputOverflow, !outputOverflow, !overflow, !roundOverflow else { return nil }
        return Cost(microUnits: rounded / 1_000_000, currency: currency)
    }

    private static func microUnits(_ json: JSON?) -> Int64? {
        switch json {
        case .string(let text)?: microUnits(text)
        case .integer(let number)?: microUnits(String(number))
        // The shortest text that reads as the number is what was written, as long as it has at most 15 digits.
        case .number(let number)?: microUnits(number.description)
        default: nil
        }
    }

    private static func microUnits(_ text: String) -> Int64? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let whole = parts.first, (1...7).contains(whole.utf8.count) else { return nil }
        let fraction = parts.count == 2 ? parts[1] : "0"
        guard (1...6).contains(fraction.utf8.count),
            (whole + fraction).utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let units = Int64(whole),
            let micro = Int64(fraction + String(repeating: "0", count: 6 - fraction.utf8.count)),
            units <= 1_000_000
        else { return nil }
        return units * 1_000_000 + micro
    }
}
